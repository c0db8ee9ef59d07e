// SPDX-License-Identifier: MIT
//! Text that another process wrote, for people and programs to read.

#![forbid(unsafe_code)]

/// The bytes of a name up to the first NUL, as characters. `?` stands for those that could affect a
/// terminal or a parser, and for all that are not ASCII.
pub(crate) fn plain_chars(bytes: &[u8]) -> impl Iterator<Item = char> {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !b"\"\\<>{}|".contains(&byte) || byte == b' ';
    let text = bytes.iter().take_while(|byte| **byte != 0);
    text.map(move |byte| if is_plain(*byte) { *byte as char } else { '?' })
}
