package fleet

import (
	"sync/atomic"
	"time"

	"github.com/linkmesh/link/internal/backoff"
)

// Member is the owner's type of a member. It is a pointer to a struct that embeds [Life].
type Member interface{ life() *Life }

// Life is the part of a member that belongs to its fleet.
type Life struct {
	// ID is the ID by which the list shows the instance, and Service the service that the list is of.
	ID      string
	Service string

	vanished atomic.Bool
	// met is set once the instance has reported ID itself. It belongs to the goroutine of the member.
	met bool
}

func (l *Life) life() *Life { return l }

// Vanished reports whether the list no longer has the instance. The member is then removed when its
// stream has ended, unless the instance comes back before. Vanished needs no lock.
func (l *Life) Vanished() bool { return l.vanished.Load() }

// Verdict says how a fleet goes on when a stream has ended. The zero value means that it opens the
// next one after a pause of [Rejoin].
type Verdict struct {
	// Stop removes the member, because the instance would refuse the next stream as well. A later list
	// that still has the instance gives it a new member.
	Stop bool
	// AtOnce lets the next attempt follow without a pause, and does not count this one as a failure.
	AtOnce bool
	// Pauses spaces attempts. The zero value means Rejoin.
	Pauses backoff.Backoff
}

// End says why a member is attended no more. The zero value means that the fleet has ended.
type End struct {
	// Vanished is set if the member was removed because its instance had vanished.
	Vanished bool
	// Err is the error after which Judge has stopped the member; nil if it has not.
	Err error
	// Left is the number of members that were left when the member was removed.
	Left int
}

// Bounds of the pause before the next stream. The transport has its own, longer pauses between dials.
const (
	rejoinLeast = 50 * time.Millisecond
	rejoinMost  = 5 * time.Second
)

// Rejoin returns the pauses before a lost instance is connected to again. They have jitter, so that
// all those who lost it at the same time do not come back at the same time. An attempt that lasts
// longer than the longest pause ends a row of failures.
func Rejoin() backoff.Backoff { return backoff.Backoff{Least: rejoinLeast, Most: rejoinMost} }

// attend keeps a stream to the instance of m, until it has vanished, Judge stops it, or the fleet ends.
func (f *Fleet[M]) attend(m M) End {
	failures := 0
	for f.ctx.Err() == nil {
		began := time.Now()
		err := f.config.Attend(f.ctx, m)
		if f.ctx.Err() != nil {
			break
		}
		if left, gone := f.part(m); gone {
			return End{Vanished: true, Left: left}
		}
		row := failures + 1
		if time.Since(began) > rejoinMost {
			row = 1
		}
		v := f.config.Judge(m, err, row)
		switch {
		case v.Stop:
			return End{Err: err, Left: f.remove(m)}
		case v.AtOnce:
			continue
		case v.Pauses == backoff.Backoff{}:
			v.Pauses = Rejoin()
		}
		failures = row
		if v.Pauses.Wait(f.ctx, failures) != nil {
			break
		}
	}
	return End{}
}

// part removes m if its instance has vanished. It reports whether it did, and how many are left.
func (f *Fleet[M]) part(m M) (left int, gone bool) {
	f.config.Lock.Lock()
	defer f.config.Lock.Unlock()
	if !m.life().vanished.Load() {
		return 0, false
	}
	delete(f.members, m.life().ID)
	if f.config.Part != nil {
		f.config.Part(m)
	}
	return len(f.members), true
}

func (f *Fleet[M]) remove(m M) (left int) {
	f.config.Lock.Lock()
	defer f.config.Lock.Unlock()
	delete(f.members, m.life().ID)
	return len(f.members)
}
