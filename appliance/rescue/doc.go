// Package rescue is the console on the serial line and on the screen of a node:
// what a tired person without storage expertise sees at three in the morning.
//
// It shows the boot, then the state of the node and of the pair with one plain
// sentence on what is wrong or what is waited for, and what to do; its menu shows the
// network and the logs, restarts a service, reboots, powers off and opens a shell. French and English.
//
//	keys ──> Decoder ──> Model.Update ──> Effects ──> Actions
//	                        ^    │                       │
//	Source ── Snapshot ─────┘    └─> Model.View ──> Renderer ──> terminal
//	                        ^                            │
//	                        └───────── results ──────────┘
//
// The Model is pure: it takes keys, seconds, snapshots and results, and gives a
// screen and effects. Run is the engine: one goroutine owns the Model, one reads
// keys, one writes the terminal, one asks the Source, one carries out effects, one
// reads logs.
//
// It owns the terminal while it runs. It promises that keys are answered whatever
// is dead: a Source or an Action that hangs makes what is shown old, says so, and
// freezes nothing. Every part of a Snapshot may be missing. No key is lost between two
// questions: what is typed or pasted before an answer waits for the question that the
// answer leads to, and says so; a refusal drops it, and says that. A shell takes what
// is typed from its prompt on. Whatever ends or disturbs something is asked twice, with
// the harmless answer chosen, and says who takes over. What other programs wrote (logs,
// events, names) cannot change the terminal's state.
//
// It never decides anything about the pair, writes no file, and holds no
// authority: what it may do is what its Actions do.
package rescue
