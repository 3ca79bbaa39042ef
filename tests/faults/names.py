"""Names that a library could take for more than names, and files of other kinds."""

import os

WORKING = (
    *("a b", "dé日", "a#b", "a@b", "100%", "%s%n", "~", "~nobody", "a.", "...", "-x"),
    *("a'b", 'a"b', "a;b&c|d", "$HOME", "{x}", "(x)", "a:b", "a,b", "w" * 200),
)
REFUSED = (
    *("a\\b", "\\", "gs:", "s3:", "file:", "a*", "**", "what?", "[ab]", "a[", "a\nb"),
    *("a\tb", "\x7f", os.fsdecode(b"\xff\xfe")),
)
KINDS = ('["of another kind"]', '{"name": "else"}', "3", "")
