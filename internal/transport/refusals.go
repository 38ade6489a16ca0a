package transport

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/linkmesh/link/internal/foreign"
)

const (
	// refusalsEvery is how often refusals for one reason are logged. The line says how
	// many there were: a flood of strangers must neither be silent nor fill the disk.
	refusalsEvery = 10 * time.Second
	// maxRefusalReasons bounds the reasons that are told apart. They are a closed set, far
	// smaller; what would exceed it counts as the last one.
	maxRefusalReasons = 64
)

// The reasons of this package, beside those of [Config.Refusal].
const (
	refusedOverload     = "overload"         // too many handshakes or connections; see Limits
	refusedFlood        = "flood"            // too many handshakes begun, or datagrams of one, each of which counts; see starts and strangers
	refusedPaused       = "paused"           // its connections were ended for breaking the rules, see debts
	refusedTimeout      = "timeout"          // the handshake was not complete in time
	refusedProtocol     = "protocol"         // nothing of the form link/… was offered
	refusedVersion      = "version"          // another version of link
	refusedMissing      = "no-certificate"   // the peer showed none
	refusedProof        = "proof"            // it does not hold the key of its certificate
	refusedMalformed    = "malformed"        // bytes that TLS or QUIC does not allow
	refusedByPeer       = "rejected-by-peer" // it did not accept our certificate
	refusedAbandoned    = "abandoned"        // it went away
	refusedUnidentified = "unidentified"     // Config.Identify failed
	refusedOther        = "other"
)

// refusals counts what others asked for and did not get, by reason, and logs it, each
// reason at most once in refusalsEvery.
type refusals struct {
	log  *slog.Logger
	what string // what the lines begin with

	mu      sync.Mutex // guards the fields below
	reasons map[string]*refusal
	closed  bool
}

// refusal is what is known of one reason.
type refusal struct {
	total  uint64
	unsaid uint64    // since the last line
	said   time.Time // when that was
	peer   string    // the peer of the latest
	text   string
}

// line is a line that is due.
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

// due returns the line about f, if it is time for one.
func (f *refusal) due(reason string, now time.Time) (line, bool) {
	if f.unsaid == 0 || !f.said.IsZero() && now.Sub(f.said) < refusalsEvery {
		return line{}, false
	}
	l := line{reason: reason, peer: f.peer, text: f.text, count: f.unsaid}
	f.unsaid, f.said = 0, now
	return l, true
}

// flush logs what was counted and not said, once it is time.
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

// stop ends counting: what ends with the endpoint was not refused.
func (r *refusals) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
}

// Refused returns how many connections of others came to nothing, by reason: those of
// [Config.Refusal] and of this package. Reasons that did not occur are missing.
func (e *Endpoint) Refused() map[string]uint64 { return e.refusals.totals() }

// Shed returns how many calls, streams and messages of peers were refused for want of
// room, by the limit: "CallsPerProcess". Limits that were not reached are missing.
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

// failed counts a handshake that ended with err.
func (r *refusals) failed(reason func(error) string, peer string, err error) {
	why, text := handshakeReason(err)
	if reason != nil {
		if known := reason(err); known != "" {
			why = known
			if tp, ok := errors.AsType[*quic.TransportError](err); ok && verdict(tp) != nil {
				text = verdict(tp).Error()
			}
		}
	}
	r.note(why, peer, text, time.Now())
}

// handshakeReason sorts the errors with which quic-go ends a handshake.
func handshakeReason(err error) (reason, text string) {
	if err == nil {
		return refusedOther, "the handshake ended"
	}
	text = err.Error()
	if errors.Is(err, errTooManyHandshakes) {
		return refusedOverload, text + " (Limits.Handshakes, Limits.HandshakesPerSource)"
	}
	if errors.Is(err, errTooManyStarts) {
		return refusedFlood, text
	}
	if _, ok := errors.AsType[*pausedError](err); ok {
		return refusedPaused, text
	}
	if _, ok := errors.AsType[*quic.HandshakeTimeoutError](err); ok {
		return refusedTimeout, text
	}
	if _, ok := errors.AsType[*quic.IdleTimeoutError](err); ok {
		return refusedTimeout, text
	}
	tp, ok := errors.AsType[*quic.TransportError](err)
	if !ok {
		return refusedAbandoned, text
	}
	alert := uint64(tp.ErrorCode) - alertBase
	switch {
	case tp.ErrorCode == quic.ConnectionRefused:
		return refusedOverload, "more handshakes were complete than could be taken"
	case tp.Remote && tp.ErrorCode.IsCryptoError():
		return refusedByPeer, "the peer ended the handshake: " + tls.AlertError(alert).Error() + "; its own log says why"
	case tp.Remote:
		return refusedAbandoned, text
	case !tp.ErrorCode.IsCryptoError():
		return refusedMalformed, text
	case alert == alertNoProtocol:
		return refusedProtocol, text
	case alert == alertCertRequired:
		return refusedMissing, text
	case alert == alertCertificateLast:
		return refusedProof, text
	}
	return refusedMalformed, text
}
