from hypothesis import given
from hypothesis import strategies as st

from ops_system.master.logs.rules import MAX_LINE_BYTES, LineSplitter, file_name


def texts(lines):
    return [line.text for line in lines]


def test_lines_are_cut_at_line_ends_only():
    splitter = LineSplitter()
    assert texts(splitter.feed(b"one\ntw")) == ["one"]
    assert texts(splitter.feed(b"o\r\n\nthr")) == ["two", ""]
    assert texts(splitter.flush()) == ["thr"]
    assert splitter.flush() == []


def test_a_character_split_between_chunks_is_whole():
    splitter = LineSplitter()
    data = "\u6d4b\u8bd5\n".encode()
    assert texts(splitter.feed(data[:2])) == []
    assert texts(splitter.feed(data[2:])) == ["\u6d4b\u8bd5"]


def test_a_line_without_end_does_not_grow_for_ever():
    splitter = LineSplitter()
    lines = splitter.feed(b"x" * (3 * MAX_LINE_BYTES + 5))
    assert [len(line.text) for line in lines] == [MAX_LINE_BYTES] * 3
    assert len(splitter.flush()[0].text) == 5


@given(st.lists(st.binary(max_size=20), max_size=20))
def test_no_byte_is_lost_or_doubled(chunks):
    splitter = LineSplitter()
    lines = [line for chunk in chunks for line in splitter.feed(chunk)] + splitter.flush()
    whole = b"".join(chunks)
    expected = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in whole.split(b"\n")]
    if whole.split(b"\n")[-1] == b"":
        expected.pop()
    assert texts(lines) == expected


def test_file_names_are_plain():
    assert file_name("ins_abcdef123456", "Access Log") == "ins_abcdef123456-Access-Log.log"
    assert file_name("../x", '"; rm\r\n.log') == "x-rm-.log"
