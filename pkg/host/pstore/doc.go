// Package pstore takes what the kernel left behind when it died.
//
// A kernel that panics writes its last messages where they survive: into memory of
// the firmware or of the board, or into the firmware's own variables. The next one
// shows them as files of a file system. Collect moves them to a folder of ours, so
// that their place is free for the next death, and tells what they say.
//
// What is kept is bounded: the newest Keep records, each of at most maxRecord bytes.
// A record that cannot be kept is left where it is.
package pstore
