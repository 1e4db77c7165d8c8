"""Why something is as it is: a code the console translates, words for a log, flat parameters."""

import msgspec

Params = dict[str, str | int | float]


class Reason(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A reason, e.g. `Reason("exited", "exited with code 7", {"exit_code": 7})`."""

    code: str
    message: str
    params: Params = {}
