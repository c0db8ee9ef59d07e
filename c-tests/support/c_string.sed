# SPDX-License-Identifier: MIT
# Makes a C string of a text. (Meson turns a backslash of a command line into a slash.)
1i static const char errnos_md[] =
s/["\\]/\\&/g
s/.*/"&\\n"/
$a ;
