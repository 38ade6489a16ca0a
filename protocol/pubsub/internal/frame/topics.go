package frame

import (
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/internal/spell"
	"github.com/linkmesh/link/protocol/pubsub/internal/subject"
)

// IdleAfter is how long a subscription must have lasted before it, or one of its publishers, says
// that nobody publishes what it asks for.
const IdleAfter = 5 * time.Second

// Published is a publisher's report on the topics that a subscription asks for. It is sent
// once the subscription has lasted for [IdleAfter], and again when it changes.
type Published struct {
	// Any is set if one of the topics has a publisher on the node.
	Any bool `cbor:"1,keyasint,omitempty"`
	// Near has published topics with similar names, if Any is not set.
	Near []string `cbor:"2,keyasint,omitempty"`
}

// Check returns an error for a report that no publisher sends.
func (p *Published) Check() error {
	if len(p.Near) > spell.MaxProposed {
		return link.Errorf(link.InvalidArgument, "a TOPICS with %d names, of at most %d", len(p.Near), spell.MaxProposed)
	}
	for _, name := range p.Near {
		if err := subject.Valid(name); err != nil {
			return link.Errorf(link.InvalidArgument, "a TOPICS with a bad name: %w", err)
		}
	}
	return nil
}
