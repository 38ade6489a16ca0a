package wire

// State says whether a node takes new work.
type State uint64

// The states of a node.
const (
	StateServing  State = 0
	StateDraining State = 1
)

// Setup is the first frame of each CONTROL stream. A connection is up when both
// sides have received the other side's Setup.
type Setup struct {
	Version    uint64   // key 1: 1
	Instance   string   // key 2: ID of the instance, "" for a client that serves nothing
	Tags       []string // key 4: tags of the instance
	MaxMessage uint64   // key 5: largest message the sender accepts, in bytes
	Codecs     []uint64 // key 7: codecs the sender reads; nil if unspecified
	State      State    // key 8: serving or draining
}

// AppendSetup appends a whole SETUP frame.
func AppendSetup(b []byte, s *Setup) []byte {
	b, body := BeginFrame(b, KindSetup, FlagCritical)
	b = appendHead(b, majorMap, 6)
	b = appendUint(append(b, 1), s.Version)
	b = appendText(append(b, 2), s.Instance)
	b = appendTexts(append(b, 4), s.Tags)
	b = appendUint(append(b, 5), s.MaxMessage)
	b = appendHead(append(b, 7), majorArray, uint64(len(s.Codecs)))
	for _, c := range s.Codecs {
		b = appendUint(b, c)
	}
	b = appendUint(append(b, 8), uint64(s.State))
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

// ParseSetup parses the body of a SETUP frame. The result owns its memory.
func ParseSetup(body []byte) (s Setup, err error) {
	if len(body) > MaxControl {
		return s, &LimitError{What: "SETUP body", Limit: MaxControl, Got: uint64(len(body))}
	}
	r := reader{b: body, what: "SETUP"}
	r.fields(func(key uint64) bool {
		switch key {
		case 1:
			s.Version = r.uint()
		case 2:
			s.Instance = string(r.text(MaxName))
		case 4:
			s.Tags = r.tags()
		case 5:
			s.MaxMessage = r.uint()
		case 7:
			s.Codecs = make([]uint64, 0, r.array(MaxCodecs))
			for range cap(s.Codecs) {
				s.Codecs = append(s.Codecs, r.uint())
			}
		case 8:
			s.State = State(r.uint())
		default:
			return false
		}
		return true
	})
	if r.err == nil && (s.Version == 0 || s.MaxMessage == 0) {
		r.fail("version or largest message missing")
	}
	if err := r.end(); err != nil {
		return Setup{}, err
	}
	return s, nil
}
