package codecvalues

import (
	"net/netip"
	"time"
)

// Small is a typical unary body.
type Small struct {
	ID       string `json:"id"`
	Customer string `json:"customer"`
	Amount   int64  `json:"amount"`
	Paid     bool   `json:"paid"`
}

// Everything has a field of each kind that a codec of Go values must support.
type Everything struct {
	Text    string            `json:"text"`
	Bytes   []byte            `json:"bytes"`
	Int     int64             `json:"int"`
	Uint    uint64            `json:"uint"`
	Small   int8              `json:"small"`
	Float   float64           `json:"float"`
	Bool    bool              `json:"bool"`
	Time    time.Time         `json:"time"`
	Wait    time.Duration     `json:"wait"`
	Addr    netip.Addr        `json:"addr"`
	List    []string          `json:"list"`
	Map     map[string]int    `json:"map"`
	Nested  *Everything       `json:"nested"`
	Structs []Small           `json:"structs"`
	Array   [4]uint16         `json:"array"`
	Empty   struct{}          `json:"empty"`
	NilMap  map[string]string `json:"nilMap"`
}
