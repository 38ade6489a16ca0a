package journal_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/protocol/pubsub/internal/journal"
)

// TestGoldenRecords checks the bytes of each kind of record.
func TestGoldenRecords(t *testing.T) {
	now := start()
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, now, journal.Subscription{Class: journal.AtLeastOnce, Limits: journal.Limits{Messages: 3}})
	publish(t, l, now, journal.Message{Topic: "a.b", Payload: []byte("hi")})
	publish(t, l, now, journal.Message{
		Topic: "a.b", Key: "k1", TTL: time.Second, Priority: 64, Feed: 7, Payload: []byte("all"),
		Headers: []journal.Pair{{Name: "h", Value: "v"}},
		Trace:   []journal.Pair{{Name: "tp", Value: "00"}, {Name: "ts", Value: ""}},
	})
	publish(t, l, now, journal.Message{Topic: "a.b", TTL: time.Nanosecond, Payload: []byte("late")})
	now = now.Add(time.Microsecond)
	frame, n, _, err := s.Fill(nil, 1<<16, 10, now)
	if n != 2 || err != nil {
		t.Fatal(n, err)
	}
	if err := s.Release(now, 1); err != nil {
		t.Fatal(err)
	}
	if err := s.Nack(now, 2, 0, ""); err != nil {
		t.Fatal(err)
	}
	frame, _, _, err = s.Fill(frame, 1<<16, 10, now)
	if err != nil {
		t.Fatal(err)
	}
	// The time is 1 767 323 045 000 000 microseconds since 1970.
	const clock, micros = "c006475ee0000000", "964cf340"
	want := strings.Join([]string{
		"04" + "02" + "01" + "00", // MARK live 0
		"01" + "04" + "00" + "612e62",
		"06" + "08" + clock,
		"02" + "09" + "00" + "01" + "00" + micros + "6869",
		"02" + "23" + "3f" + "02" + "00" + micros +
			"40" + "800f4240" + "07" + "02" + "6b31" +
			"02" + "02" + "7470" + "02" + "3030" + "02" + "7473" + "00" +
			"01" + "01" + "68" + "01" + "76" + "616c6c",
		"03" + "05" + "01" + "02" + "03" + "03" + "01",     // GAP normal ttl 3-3 x1
		"02" + "09" + "00" + "01" + "00" + micros + "6869", // MSG 1 again, released
		"05" + "01" + "02", // DELIVERY 2
		"02" + "23" + "3f" + "02" + "00" + micros +
			"40" + "800f4240" + "07" + "02" + "6b31" +
			"02" + "02" + "7470" + "02" + "3030" + "02" + "7473" + "00" +
			"01" + "01" + "68" + "01" + "76" + "616c6c",
	}, "")
	if got := hex.EncodeToString(frame); got != want {
		t.Errorf("frame is\n%s, want\n%s", got, want)
	}

	r := journal.NewReader(journal.ReaderLimits{})
	r.Reset(frame)
	var recs []journal.Record
	for {
		var rec journal.Record
		ok, err := r.Next(&rec)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		recs = append(recs, rec)
	}
	if len(recs) != 6 {
		t.Fatalf("%d records", len(recs))
	}
	m := recs[2]
	var pairs []string
	for _, p := range []journal.Pairs{m.Trace, m.Headers} {
		for name, value := range p.All() {
			pairs = append(pairs, string(name)+"="+string(value))
		}
	}
	if m.Seq != 2 || m.Topic != "a.b" || string(m.Key) != "k1" || m.TTL != time.Second || m.Priority != 64 || m.Feed != 7 || string(m.Payload) != "all" ||
		!m.Time.Equal(start()) || m.Attempt != 1 || m.Trace.Len() != 2 || !slices.Equal(pairs, []string{"tp=00", "ts=", "h=v"}) {
		t.Errorf("message %+v with pairs %v", m, pairs)
	}
	if g := (journal.Gap{Lane: 1, Reason: journal.ReasonExpired, From: 3, To: 3, Count: 1}); recs[3].Gap != g {
		t.Errorf("gap %+v, want %+v", recs[3].Gap, g)
	}
	if recs[4].Attempt != 1 || recs[5].Attempt != 2 {
		t.Errorf("attempts %d and %d", recs[4].Attempt, recs[5].Attempt)
	}
}

// TestMessagesOfAllSizesArrive sends messages around the sizes at which the form of a record changes.
func TestMessagesOfAllSizesArrive(t *testing.T) {
	l := newLog(t, journal.Options{})
	s := subscribe(t, l, start(), journal.Subscription{Limits: journal.Limits{Bytes: 1 << 28, Messages: 1000}})
	var want []string
	for _, n := range []int{0, 1, 40, 63, 64, 100, 16_000, 16_384, 16_385, 65_000, 65_536, 70_000, 1 << 20} {
		for _, key := range []string{"", "k", strings.Repeat("k", journal.MaxKey)} {
			p := strings.Repeat("x", n)
			publish(t, l, start(), journal.Message{Topic: "t", Key: key, Payload: []byte(p)})
			want = append(want, key+"/"+p)
		}
	}
	for len(want) > 0 {
		frame, n, _, err := s.Fill(nil, 100, 1, start())
		if err != nil || n != 1 {
			t.Fatal(n, err)
		}
		s.reader.Reset(frame)
		var rec journal.Record
		for ok, err := s.reader.Next(&rec); rec.Kind != journal.KindMessage; ok, err = s.reader.Next(&rec) {
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
		}
		if got := string(rec.Key) + "/" + string(rec.Payload); got != want[0] {
			t.Errorf("a message of %d bytes arrives as %d bytes", len(want[0]), len(got))
		}
		want = want[1:]
	}
}

func TestMalformedRecords(t *testing.T) {
	for _, tt := range []struct{ name, frame, problem string }{
		{"no length", "02", "ends early"},
		{"short body", "0205aa", "ends early"},
		{"empty message", "0200", "flags"},
		{"unknown flags", "020440010000", "flags"},
		{"message without its numbers", "02020001", "ends early"},
		{"topic that was not introduced", "020400010000", "not introduced"},
		{"topic beyond the table", "010580004000" + "61", "too large"},
		{"topic without a name", "010100", "is empty"},
		{"topic with a wildcard", "0102002a", "wildcard"},
		{"priority zero", "01020061" + "02051001000000", "priority"},
		{"priority missing", "01020061" + "020410010000", "priority"},
		{"TTL missing", "01020061" + "020402010000", "TTL"},
		{"key longer than the body", "01020061" + "0206010100000561", "key"},
		{"too many pairs", "01020061" + "0206040100004041", "too many pairs"},
		{"pairs that are not there", "01020061" + "02050401000001", "a pair ends early"},
		{"gap of no lane", "03050301010101", "lane"},
		{"gap that ends early", "0303000101", "ends early"},
		{"gap with more bytes", "0306000101010100", "cannot be"},
		{"gap that ends before it starts", "03050001020100", "cannot be"},
		{"gap with a count beyond its range", "03050001010203", "cannot be"},
		{"empty mark", "0400", "ends early"},
		{"mark with more bytes", "0403010101", "number"},
		{"attempt zero", "050100", "attempt"},
		{"attempt out of range", "0504" + "bfffffff", "attempt"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			frame, err := hex.DecodeString(tt.frame)
			if err != nil {
				t.Fatal(err)
			}
			r := journal.NewReader(journal.ReaderLimits{})
			r.Reset(frame)
			var rec journal.Record
			ok, err := r.Next(&rec)
			if _, is := errors.AsType[*journal.RecordError](err); ok || !is || !strings.Contains(err.Error(), tt.problem) {
				t.Fatalf("ok %v, error %v, want %q in it", ok, err, tt.problem)
			}
			r.Reset(nil)
			if _, again := r.Next(&rec); !errors.Is(again, err) {
				t.Errorf("then the error is %v", again)
			}
		})
	}
}

func TestUnknownRecordsAreSkipped(t *testing.T) {
	frame, _ := hex.DecodeString("7f03aabbcc" + "04020105")
	r := journal.NewReader(journal.ReaderLimits{})
	r.Reset(frame)
	var rec journal.Record
	if ok, err := r.Next(&rec); !ok || err != nil || rec.Mark != (journal.Mark{Kind: journal.MarkLive, Seq: 5}) {
		t.Errorf("%v %v %+v", ok, err, rec)
	}
}

func TestReaderKeepsToItsTopics(t *testing.T) {
	frame, _ := hex.DecodeString("01020261")
	r := journal.NewReader(journal.ReaderLimits{Topics: 2})
	r.Reset(frame)
	if _, err := r.Next(new(journal.Record)); err == nil {
		t.Error("topic 2 was taken, 2 topics are allowed")
	}
}

// FuzzReader reads hostile frames, and checks that accepted records are within their bounds.
func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"040201" + "00" + "0104006125" + "62", "01020061" + "020d000100c00647603d51cb406869",
		"01020061" + "0206010100000161", "03050102030301", "050102", "7f03aabbcc",
		"01020061" + "020c0c0100000101610162010163" + "0164",
	} {
		b, err := hex.DecodeString(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, uint8(len(b)))
	}
	f.Fuzz(func(t *testing.T, frames []byte, cut uint8) {
		r := journal.NewReader(journal.ReaderLimits{Topics: 100})
		var rec journal.Record
		tracker := journal.NewTracker(journal.BestEffort, journal.Position{})
		latest := journal.NewTracker(journal.Latest, journal.Position{})
		at := min(int(cut), len(frames))
		for _, frame := range [][]byte{frames[:at], frames[at:]} {
			r.Reset(frame)
			for {
				ok, err := r.Next(&rec)
				if err != nil {
					return
				}
				if !ok {
					break
				}
				n := len(rec.Key) + len(rec.Payload)
				for _, p := range []journal.Pairs{rec.Headers, rec.Trace} {
					pairs := 0
					for name, value := range p.All() {
						n += len(name) + len(value)
						pairs++
					}
					if pairs != p.Len() || pairs > journal.MaxPairs {
						t.Errorf("%d pairs of %d", pairs, p.Len())
					}
				}
				if n > len(frame) || len(rec.Key) > journal.MaxKey || rec.TTL < 0 || rec.Gap.From > rec.Gap.To || rec.Gap.Lane >= journal.Lanes {
					t.Errorf("record %+v of a frame of %d bytes", rec, len(frame))
				}
				before := tracker.Position()
				tracker.Observe(&rec)
				if latest.Observe(&rec) && rec.Kind == journal.KindMessage && rec.Seq > 0 && rec.Seq-latest.Position().Least() <= 1<<20 && latest.Observe(&rec) {
					t.Errorf("message %d is new twice", rec.Seq)
				}
				for i, seq := range tracker.Position().Seq {
					if seq < before.Seq[i] {
						t.Errorf("the position went back from %+v to %+v", before, tracker.Position())
					}
				}
			}
		}
	})
}

func FuzzPosition(f *testing.F) {
	f.Add(journal.Position{Epoch: 1 << 63, Seq: [3]uint64{1, 1 << 20, 1 << 61}}.Append(nil))
	f.Add([]byte{1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, rest, err := journal.ParsePosition(b)
		if err != nil {
			if !errors.Is(err, journal.ErrPosition) {
				t.Error(err)
			}
			return
		}
		again, left, err := journal.ParsePosition(append(p.Append(nil), rest...))
		if err != nil || again != p || string(left) != string(rest) {
			t.Errorf("%+v comes back as %+v, %v", p, again, err)
		}
	})
}

// TestTimesAreThoseOfTheirMessages checks the times of messages whatever the stream has sent
// before: short and long messages that are hours apart, redeliveries after later messages, and
// redeliveries on another stream.
func TestTimesAreThoseOfTheirMessages(t *testing.T) {
	times := []time.Duration{0, time.Microsecond, time.Minute, 9 * time.Minute, 10 * time.Minute, 10*time.Minute + 3*time.Microsecond, 5 * time.Hour}
	for _, size := range []int{1, 40 << 10} {
		l := newLog(t, journal.Options{Age: 24 * time.Hour})
		s := subscribe(t, l, start(), journal.Subscription{Class: journal.AtLeastOnce, ID: "s", Lease: time.Second})
		live := subscribe(t, l, start(), journal.Subscription{Class: journal.Reliable})
		want := make(map[uint64]time.Time)
		for i, d := range times {
			now := start().Add(d)
			publish(t, l, now, journal.Message{Topic: "a", Payload: make([]byte, size)})
			want[uint64(i)+1] = now
		}
		now := start().Add(times[len(times)-1])
		check := func(count int) {
			t.Helper()
			frame, n, _, err := s.Fill(nil, 1<<20, 100, now)
			if n != count || err != nil {
				t.Fatalf("%d messages, want %d, %v", n, count, err)
			}
			s.reader.Reset(frame)
			var rec journal.Record
			for n > 0 {
				if ok, err := s.reader.Next(&rec); !ok || err != nil {
					t.Fatal(ok, err)
				}
				if rec.Kind != journal.KindMessage {
					continue
				}
				n--
				if !rec.Time.Equal(want[rec.Seq]) {
					t.Errorf("message %d of %d bytes is of %v, want %v", rec.Seq, size, rec.Time, want[rec.Seq])
				}
			}
		}
		check(len(times))
		for _, seq := range []uint64{1, 4, 7} {
			if err := s.Release(now, seq); err != nil {
				t.Fatal(err)
			}
		}
		check(3)
		s.Detach(now)
		var err error
		if s.Cursor, err = l.Resume("s", "", 0, now); err != nil {
			t.Fatal(err)
		}
		s.reader = journal.NewReader(journal.ReaderLimits{})
		check(len(times))
		s = live
		check(len(times))
	}
}

// TestTimesInAGroup checks the times of messages in a group, including messages that one member
// had and another gets on a stream with CLOCK records of its own.
func TestTimesInAGroup(t *testing.T) {
	l := newLog(t, journal.Options{Age: 24 * time.Hour})
	sub := journal.Subscription{Class: journal.AtLeastOnce, Group: "g", Lease: time.Hour}
	a, b := subscribe(t, l, start(), sub), subscribe(t, l, start(), sub)
	now := start()
	const n = 20
	for i := range n {
		now = start().Add(time.Duration(i) * 4 * time.Minute)
		publish(t, l, now, journal.Message{Topic: "a", Payload: []byte("x")})
	}
	read := func(s *stream) (count int) {
		t.Helper()
		for more := true; more; {
			var frame []byte
			var err error
			if frame, _, more, err = s.Fill(nil, 1<<20, 100, now); err != nil {
				t.Fatal(err)
			}
			s.reader.Reset(frame)
			var rec journal.Record
			for {
				ok, err := s.reader.Next(&rec)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					break
				}
				if rec.Kind != journal.KindMessage {
					continue
				}
				count++
				if want := start().Add(time.Duration(rec.Seq-1) * 4 * time.Minute); !rec.Time.Equal(want) {
					t.Errorf("message %d is of %v, want %v", rec.Seq, rec.Time, want)
				}
			}
		}
		return count
	}
	had := read(a)
	if other := read(b); had == 0 || other == 0 || had+other != n {
		t.Fatalf("members got %d and %d, want all of %d", had, other, n)
	}
	a.Close(now)
	now = now.Add(time.Minute)
	if again := read(b); again != had {
		t.Errorf("the other got %d of %d", again, had)
	}
}
