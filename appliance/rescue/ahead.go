package rescue

import "beffroi.dev/appliance/rescue/screen"

// maxAhead bounds what is typed ahead: more than all questions of a founding take.
const maxAhead = 4096

// awaiting says that a question with something to type was answered, and that what
// comes next is not known yet: keys typed now belong to that. A paste is faster than
// any answer, and so is a person who knows the questions.
func (m *Model) awaiting() bool {
	_, typing := m.top().(interface{ typing() })
	return typing && m.busy != "" && m.asker == m.top()
}

// hold keeps a key for what comes next. Those that leave the screen, redraw it or
// change its language are answered at once and never come here.
func (m *Model) hold(k screen.Key) {
	if len(m.ahead) < maxAhead {
		m.ahead = append(m.ahead, k)
	}
}

// replay types what was held. Enter before anything else is impatience: it would
// answer a question that nobody has read.
func (m *Model) replay() (effects []Effect) {
	held := m.ahead
	m.ahead = nil
	for len(held) > 0 && held[0].Code == screen.Enter {
		held = held[1:]
	}
	for _, k := range held { // what must wait for another answer is held again
		effects = append(effects, m.dispatch(k)...)
	}
	return effects
}
