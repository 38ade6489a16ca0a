package transport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/linkmesh/link/internal/foreign"
	"github.com/linkmesh/link/internal/transport/carrier"
)

const (
	// refusalsEvery is how often refusals for one reason are logged at most. The line says how
	// many there were: a flood of strangers must neither be silent nor fill the disk.
	refusalsEvery = 10 * time.Second
	// maxRefusalReasons bounds the reasons that are told apart. They are a closed and far
	// smaller set. Any reason beyond the bound counts as refusedOther.
	maxRefusalReasons = 64
)

// The reasons of this package, beside those of [Config.Refusal].
const (
	// refusedOverload means too many handshakes or connections, see Limits.
	refusedOverload = "overload"
	// refusedFlood means too many handshakes begun, or too many datagrams of one handshake, each
	// of which counts; see starts and strangers.
	refusedFlood = "flood"
	// refusedPaused means that the peer's connections were ended for breaking the rules, see debts.
	refusedPaused = "paused"
	// refusedTimeout means that the handshake was not complete in time.
	refusedTimeout = "timeout"
	// refusedProtocol means that no protocol of the form link/… was offered.
	refusedProtocol = "protocol"
	// refusedVersion means that the peer speaks another version of link.
	refusedVersion = "version"
	// refusedMissing means that the peer presented no certificate.
	refusedMissing = "no-certificate"
	// refusedProof means that the peer does not hold the key of its certificate.
	refusedProof = "proof"
	// refusedMalformed means that bytes came that TLS or QUIC does not allow.
	refusedMalformed = "malformed"
	// refusedByPeer means that the peer did not accept our certificate.
	refusedByPeer = "rejected-by-peer"
	// refusedAbandoned means that the peer went away.
	refusedAbandoned = "abandoned"
	// refusedUnidentified means that Config.Identify failed.
	refusedUnidentified = "unidentified"
	refusedOther        = "other"
)

// refusals counts what peers asked for and did not get, by reason, and logs each reason
// at most once in refusalsEvery.
type refusals struct {
	log *slog.Logger
	// what is the beginning of each line.
	what string

	mu      sync.Mutex // guards the fields below
	reasons map[string]*refusal
	closed  bool
}

// refusal counts the refusals for one reason.
type refusal struct {
	total uint64
	// unsaid counts the refusals since the last line, which was logged at said.
	unsaid uint64
	said   time.Time
	// peer and text are those of the latest refusal.
	peer string
	text string
}

// line is a log line that is due.
type line struct {
	reason, peer, text string
	count              uint64
}

// note counts one refusal.
func (r *refusals) note(reason, peer, text string, now time.Time) {
	if l, due := r.count(reason, peer, text, now); due {
		r.say(l)
	}
}

func (r *refusals) count(reason, peer, text string, now time.Time) (line, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return line{}, false
	}
	f := r.reasons[reason]
	if f == nil {
		if len(r.reasons) >= maxRefusalReasons-1 {
			reason = refusedOther
			f = r.reasons[reason]
		}
		if f == nil {
			f = &refusal{}
			r.reasons[reason] = f
		}
	}
	f.total++
	f.unsaid++
	f.peer, f.text = peer, text
	return f.due(reason, now)
}

// due returns the line about f and whether it is time for one.
func (f *refusal) due(reason string, now time.Time) (line, bool) {
	if f.unsaid == 0 || !f.said.IsZero() && now.Sub(f.said) < refusalsEvery {
		return line{}, false
	}
	l := line{reason: reason, peer: f.peer, text: f.text, count: f.unsaid}
	f.unsaid, f.said = 0, now
	return l, true
}

// flush logs the refusals that were counted and not logged yet, for each reason that is due.
func (r *refusals) flush(now time.Time) {
	r.mu.Lock()
	var lines []line
	for _, reason := range slices.Sorted(maps.Keys(r.reasons)) {
		if l, due := r.reasons[reason].due(reason, now); due {
			lines = append(lines, l)
		}
	}
	r.mu.Unlock()
	for _, l := range lines {
		r.say(l)
	}
}

func (r *refusals) say(l line) {
	r.log.Warn(r.what+": "+foreign.Text(l.text), "reason", l.reason, "count", l.count, "peer", l.peer)
}

// stop ends the counting: connections that end with the endpoint were not refused.
func (r *refusals) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// Refused returns how many incoming connections failed or were refused, by reason: those of
// [Config.Refusal] and of this package. Reasons that did not occur are missing.
func (e *Endpoint) Refused() map[string]uint64 { return e.refusals.totals() }

// Shed returns how many calls, streams and messages of peers were refused for lack of room,
// by the field of Limits: "CallsPerProcess", "Streams.PerProcess". Limits that were not reached are missing.
func (e *Endpoint) Shed() map[string]uint64 { return e.shed.totals() }

func (r *refusals) totals() map[string]uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make(map[string]uint64, len(r.reasons))
	for reason, f := range r.reasons {
		out[reason] = f.total
	}
	return out
}

// failed counts a handshake that ended with err. reason is [Config.Refusal].
func (r *refusals) failed(reason func(error) string, peer string, err error) {
	why, text := handshakeReason(err)
	if reason != nil {
		if known := reason(err); known != "" {
			why = known
			if end, ok := errors.AsType[*carrier.EndError](err); ok && end.Verdict != nil {
				text = end.Verdict.Error()
			}
		}
	}
	r.note(why, peer, text, time.Now())
}

// handshakeReason classifies the error with which a handshake ended.
func handshakeReason(err error) (reason, text string) {
	if err == nil {
		return refusedOther, "the handshake ended"
	}
	text = err.Error()
	if errors.Is(err, errTooManyHandshakes) {
		return refusedOverload, text + " (Limits.Handshakes.Pending, Limits.Handshakes.PerSource)"
	}
	if errors.Is(err, errTooManyStarts) {
		return refusedFlood, text
	}
	if _, ok := errors.AsType[*pausedError](err); ok {
		return refusedPaused, text
	}
	end, ok := errors.AsType[*carrier.EndError](err)
	if !ok {
		return refusedAbandoned, text
	}
	switch end.End { //nolint:exhaustive // a peer that does anything else has gone away
	case carrier.EndSilent:
		return refusedTimeout, text
	case carrier.EndBusy:
		return refusedOverload, "more handshakes were complete than could be taken"
	case carrier.EndViolated, carrier.EndInternal:
		return refusedMalformed, text
	case carrier.EndAlert:
		if end.Remote {
			return refusedByPeer, "the peer ended the handshake: " + tls.AlertError(end.Alert).Error() + "; its own log says why"
		}
		return alertReason(end), text
	}
	return refusedAbandoned, text
}

// alertReason classifies a handshake that TLS ended on this side.
func alertReason(end *carrier.EndError) string {
	switch end.Alert {
	case alertNoProtocol:
		return refusedProtocol
	case alertCertRequired:
		return refusedMissing
	case alertCertificateLast:
		return refusedProof
	}
	return refusedMalformed
}
