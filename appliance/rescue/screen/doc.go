// Package screen is an 80 by 24 character screen for any serial terminal.
//
// A Buffer is what should be seen: cells, nothing else. A Renderer owns what the
// terminal shows now and turns the difference into bytes, as few as it can: a line
// of 115200 baud carries 11,520 a second. A Decoder turns the bytes that a terminal
// sends into keys.
//
// It promises that nothing put into a Buffer can move the cursor, change the
// terminal's state or leave its place: foreign text loses control characters and
// whatever does not fill exactly one cell. It uses the part of VT100 that serial
// terminals, the Linux console and management processors agree on: absolute cursor
// positions, clear, bold, reverse, eight colours. It never writes the last cell of
// the last row, which some terminals answer by scrolling, and never relies on where
// the cursor goes after the last column.
//
// It holds no words, reads no clock, does no I/O and starts no goroutine.
package screen
