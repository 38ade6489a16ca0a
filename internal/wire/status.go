package wire

// Status ends a call.
type Status struct {
	Code       uint64   // key 1: 0 is OK, other values are gRPC codes
	Message    string   // key 2: text for people, left out if empty
	Details    []Detail // key 3: typed details, left out if empty
	RetryAfter uint64   // key 4: milliseconds to wait before a retry, left out if zero
	Metadata   []Pair   // key 5: the handler's reply metadata, sorted by [ComparePairs]
	ErrorID    string   // key 6: the ID under which the server logged the cause, left out if empty
	Refused    bool     // key 7: no handler saw the call, left out if false
	Broken     bool     // key 8: the handler panicked and returned no error, left out if false
}

// Detail is one typed detail of an error.
type Detail struct {
	// Type is the name of the type, such as "myapp.QuotaExceeded".
	Type string
	// Data is encoded in CBOR.
	Data []byte
}

// AppendOK appends the STATUS frame of a successful call.
func AppendOK(b []byte, flags Flags) []byte {
	return append(b, byte(KindStatus), byte(flags|FlagCritical), 0x80, 0, 0, 0)
}

// AppendStatus appends a whole STATUS frame. A plain OK is an empty body. The
// only flags that callers add are [FlagLast] and [FlagOdd].
func AppendStatus(b []byte, s *Status, flags Flags) []byte {
	b, body := BeginFrame(b, KindStatus, flags|FlagCritical)
	n := byte(0)
	for _, set := range [...]bool{
		s.Code != 0, s.Message != "", len(s.Details) > 0, s.RetryAfter != 0, len(s.Metadata) > 0, s.ErrorID != "", s.Refused, s.Broken,
	} {
		if set {
			n++
		}
	}
	if n > 0 {
		b = appendStatusFields(append(b, majorMap|n), s)
	}
	putVarint4(b[body-4:], uint64(len(b)-body))
	return b
}

func appendStatusFields(b []byte, s *Status) []byte {
	if s.Code != 0 {
		b = appendUint(append(b, 1), s.Code)
	}
	if s.Message != "" {
		b = appendText(append(b, 2), s.Message)
	}
	if len(s.Details) > 0 {
		b = appendHead(append(b, 3), majorArray, uint64(len(s.Details)))
		for _, d := range s.Details {
			b = appendBytes(appendText(appendHead(b, majorArray, 2), d.Type), d.Data)
		}
	}
	if s.RetryAfter != 0 {
		b = appendUint(append(b, 4), s.RetryAfter)
	}
	if len(s.Metadata) > 0 {
		b = appendPairs(append(b, 5), s.Metadata)
	}
	if s.ErrorID != "" {
		b = appendText(append(b, 6), s.ErrorID)
	}
	if s.Refused {
		b = appendBool(append(b, 7), true)
	}
	if s.Broken {
		b = appendBool(append(b, 8), true)
	}
	return b
}

// ParseStatus parses the body of a STATUS frame. The result owns its memory.
func ParseStatus(body []byte) (s Status, err error) {
	if len(body) == 0 {
		return s, nil
	}
	if len(body) > MaxHeader {
		return s, &LimitError{What: "STATUS body", Limit: MaxHeader, Got: uint64(len(body))}
	}
	r := reader{b: body, what: "STATUS"}
	r.fields(func(key uint64) bool {
		switch key {
		case 1:
			s.Code = r.uint()
		case 2:
			s.Message = string(r.text(MaxText))
		case 3:
			s.Details = make([]Detail, 0, r.array(MaxDetails))
			for range cap(s.Details) {
				if r.array(2) != 2 {
					r.fail("detail is not a pair")
				}
				s.Details = append(s.Details, Detail{Type: string(r.text(MaxName)), Data: append([]byte(nil), r.bytes(MaxHeader)...)})
			}
		case 4:
			s.RetryAfter = r.uint()
		case 5:
			s.Metadata = r.pairs(MaxPairs, MaxPairBytes).AppendTo(nil)
		case 6:
			s.ErrorID = string(r.text(MaxName))
		case 7:
			s.Refused = r.boolean()
		case 8:
			s.Broken = r.boolean()
		default:
			return false
		}
		return true
	})
	if err := r.end(); err != nil {
		return Status{}, err
	}
	return s, nil
}
