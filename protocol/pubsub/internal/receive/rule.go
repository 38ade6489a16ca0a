package receive

// maxDecisions bounds the topics of one publisher for which a subscription remembers the
// decision. If there are more, all are forgotten.
const maxDecisions = 1024

// mayWrite reports whether a subscription takes messages of a topic by a rule, which is nil if all
// messages are taken. It must be called by the goroutine that reads the subscription.
func (m *Member) mayWrite(rule *Rule, c *Conn, path string) bool {
	if rule == nil {
		return true
	}
	if ok, known := m.decided[path]; known && m.decidedBy == rule {
		return ok
	}
	if m.decided == nil || m.decidedBy != rule || len(m.decided) >= maxDecisions {
		m.decided, m.decidedBy = make(map[string]bool), rule
	}
	ok := (*rule)(c.Peer, path)
	m.decided[path] = ok
	return ok
}
