package journal_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// start returns the time at which tests start.
func start() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

func newLog(tb testing.TB, o journal.Options) *journal.Log {
	tb.Helper()
	if o.Epoch == 0 {
		o.Epoch = 1
	}
	l, err := journal.New(o, start())
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

func publish(tb testing.TB, l *journal.Log, now time.Time, messages ...journal.Message) {
	tb.Helper()
	for _, m := range messages {
		if _, err := l.Append(m, now); err != nil {
			tb.Fatal(err)
		}
	}
}

// say returns messages of one topic with these payloads.
func say(topic string, payloads ...string) []journal.Message {
	var list []journal.Message
	for _, p := range payloads {
		list = append(list, journal.Message{Topic: topic, Payload: []byte(p)})
	}
	return list
}

func subscribe(tb testing.TB, l *journal.Log, now time.Time, s journal.Subscription) *stream {
	tb.Helper()
	if s.Patterns == nil {
		s.Patterns = []string{">"}
	}
	c, err := l.Subscribe(s, now)
	if err != nil {
		tb.Fatal(err)
	}
	return &stream{TB: tb, Cursor: c, reader: journal.NewReader(journal.ReaderLimits{})}
}

// stream is a cursor and the subscriber's reader.
type stream struct {
	testing.TB
	*journal.Cursor
	reader *journal.Reader
	more   bool
	// marks has decode return marks too.
	marks bool
}

// fill returns what one Fill has written, a word for each record: "payload" for the first
// delivery of a message, "payload#2" for the second, "(overflow 2-4 x3)" for a gap, and
// "[1 to 7]" for a mark of kind 1.
func (s *stream) fill(now time.Time, maxBytes, maxMessages int) string {
	s.Helper()
	out, n, more, err := s.Fill(nil, maxBytes, maxMessages, now)
	s.more = more
	words, messages := s.decode(out)
	if messages != n {
		s.Errorf("Fill says %d messages, it wrote %d", n, messages)
	}
	if err != nil {
		words = append(words, err.Error())
	}
	return strings.Join(words, " ")
}

func (s *stream) decode(frame []byte) (words []string, messages int) {
	s.Helper()
	s.reader.Reset(frame)
	var rec journal.Record
	for {
		ok, err := s.reader.Next(&rec)
		if err != nil {
			s.Fatal(err)
		}
		if !ok {
			return words, messages
		}
		switch rec.Kind {
		case journal.KindMessage:
			messages++
			word := string(rec.Payload)
			if rec.Attempt > 1 {
				word += fmt.Sprintf("#%d", rec.Attempt)
			}
			words = append(words, word)
		case journal.KindGap:
			word := fmt.Sprintf("%v %d-%d", rec.Gap.Reason, rec.Gap.From, rec.Gap.To)
			if rec.Gap.Count > 0 {
				word += fmt.Sprintf(" x%d", rec.Gap.Count)
			}
			words = append(words, "("+word+")")
		case journal.KindMark:
			if s.marks {
				words = append(words, fmt.Sprintf("[%d to %d]", rec.Mark.Kind, rec.Mark.Seq))
			}
		case journal.KindTopic, journal.KindClock, journal.KindDelivery:
			s.Errorf("the reader has returned a record of kind %d", rec.Kind)
		}
	}
}

// read fills until nothing is left, and returns all words.
func (s *stream) read(now time.Time) string {
	s.Helper()
	var words []string
	for {
		if w := s.fill(now, 64<<10, 256); w != "" {
			words = append(words, w)
		}
		if !s.more {
			return strings.Join(words, " ")
		}
	}
}

func (s *stream) want(now time.Time, what string) {
	s.Helper()
	if got := s.read(now); got != what {
		s.Errorf("read %q, want %q", got, what)
	}
}

// ready reports whether the cursor has signaled.
func (s *stream) ready() bool {
	select {
	case <-s.Ready():
		return true
	default:
		return false
	}
}
