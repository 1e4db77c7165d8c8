import re
import shutil
import subprocess

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from ops_system.packtool.ignore import IgnoreRules


@pytest.mark.parametrize(
    ("lines", "path", "is_dir", "ignored"),
    [
        ([], "a.py", False, False),
        ([], "lib/__pycache__", True, True),
        ([], "x/y.pyc", False, True),
        ([], ".git", True, True),
        ([], ".packignore", False, True),
        (["*.log"], "a/b/c.log", False, True),
        (["/*.log"], "a/c.log", False, False),
        (["/build"], "build", True, True),
        (["/build"], "src/build", True, False),
        (["doc/*.txt"], "doc/a.txt", False, True),
        (["doc/*.txt"], "doc/sub/a.txt", False, False),
        (["doc/**/a.txt"], "doc/a.txt", False, True),
        (["doc/**/a.txt"], "doc/x/y/a.txt", False, True),
        (["**/tmp"], "a/tmp", True, True),
        (["tmp/**"], "tmp/a/b", False, True),
        (["tmp/**"], "tmp", True, False),
        (["tmp/"], "tmp", False, False),
        (["tmp/"], "a/tmp", True, True),
        (["*.log", "!keep.log"], "keep.log", False, False),
        (["!keep.log", "*.log"], "keep.log", False, True),
        (["!*.pyc"], "a.pyc", False, False),
        (["# comment", "", "   "], "# comment", False, False),
        (["\\#x"], "#x", False, True),
        (["\\!x"], "!x", False, True),
        (["a?c"], "abc", False, True),
        (["a?c"], "a/c", False, False),
        (["[ab].x"], "b.x", False, True),
        (["[!ab].x"], "b.x", False, False),
        (["[a-c].x"], "b.x", False, True),
        (["end  "], "end", False, True),
        (["end\\ "], "end ", False, True),
        (["a.b"], "axb", False, False),
        (["(a|b)+"], "(a|b)+", False, True),
        (["["], "[", False, True),
        (["[]"], "[]", False, True),
        (["[!]"], "[!]", False, True),
        (["[z-a]"], "[z-a]", False, True),
        (["[]a]"], "]", False, True),
        (["[!]a]"], "b", False, True),
        (["[a--]"], "[a--]", False, True),
        (["[[^&|]"], "^", False, True),
        (["**//"], "x/a", False, False),
        (["//"], "a", True, False),
        (["***/a"], "x/a", False, True),
        (["a**b"], "a/b", False, False),
        (["a**b"], "axxb", False, True),
        (["/"], "a", True, False),
    ],
)
def test_patterns_mean_what_they_mean_to_git(lines, path, is_dir, ignored):
    assert IgnoreRules(lines).is_ignored(path, is_dir=is_dir) is ignored


@given(st.text(max_size=12) | st.text(alphabet="[]!-^a*/\\&", max_size=9), st.text(alphabet="ab./[]", max_size=8))
def test_any_line_is_a_pattern(line, path):
    assert IgnoreRules([line]).is_ignored(path, is_dir=False) in (True, False)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is the judge here")
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from(["a", "b", "*", "?", "/", "**/", ".log", "!", "[ab]", "[!a]"]), max_size=4).map(
            "".join
        ),
        max_size=3,
    ),
)
def test_git_itself_agrees(tmp_path_factory, lines):
    """`git check-ignore` on plain files at two depths, where no parent is ignored."""
    # Stars inside a component and before a slash: wildmatch.c of some versions looks at the wrong byte.
    assume(not any(re.search(r"[^/]\*{2,}/", line.lstrip("!")) for line in lines))
    folder = tmp_path_factory.mktemp("git")
    subprocess.run(["git", "init", "-q", folder], check=True)
    (folder / ".gitignore").write_text("\n".join(lines) + "\n")
    paths = ["a", "b", "ab", "a.log", "x/a", "x/b.log", "x/y/ab"]
    ours = IgnoreRules(lines)
    shown = subprocess.run(
        ["git", "-C", folder, "check-ignore", "--no-index", *paths], capture_output=True, text=True, check=False
    )
    theirs = set(shown.stdout.split())
    for path in paths:
        parents = [path.rsplit("/", depth)[0] for depth in range(1, path.count("/") + 1)]
        mine = ours.is_ignored(path, is_dir=False) or any(ours.is_ignored(parent, is_dir=True) for parent in parents)
        assert mine == (path in theirs), (lines, path)
