package udp

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
)

func TestSocketComplaints(t *testing.T) {
	for _, test := range []struct {
		name  string
		facts facts
		want  []string
	}{
		{"as wanted", facts{readBuffer: wantBuffer, writeBuffer: 2 * wantBuffer, gso: true}, nil},
		{"nothing known", facts{gso: true}, nil},
		{"small receive buffer", facts{readBuffer: 208 << 10, writeBuffer: wantBuffer, gso: true}, []string{"receive buffer is 208 KiB, wanted 7168 KiB"}},
		{"small send buffer", facts{readBuffer: wantBuffer, writeBuffer: 1 << 10, gso: true}, []string{"send buffer is 1 KiB"}},
		{"no GSO", facts{readBuffer: wantBuffer, writeBuffer: wantBuffer}, []string{"no UDP segmentation offload"}},
		{"all of it", facts{readBuffer: 1 << 10, writeBuffer: 1 << 10}, []string{"receive buffer", "send buffer", "GSO"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := test.facts.complaints()
			if len(got) != len(test.want) {
				t.Fatalf("got %q, want %d complaints", got, len(test.want))
			}
			for i, want := range test.want {
				if !strings.Contains(got[i], want) {
					t.Errorf("complaint %d is %q, want %q in it", i, got[i], want)
				}
			}
		})
	}
}

// TestSocketIsCheckedInOneLine checks a real socket. Whatever this machine offers,
// the log gets at most one line.
func TestSocketIsCheckedInOneLine(t *testing.T) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	var out bytes.Buffer
	check(conn, slog.New(slog.NewTextHandler(&out, nil)))
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	want := min(len(inspect(raw).complaints()), 1)
	if got := strings.Count(out.String(), "\n"); got != want {
		t.Errorf("%d lines, want %d:\n%s", got, want, out.String())
	}
	if want == 1 && !strings.Contains(out.String(), "sysctl -w") {
		t.Errorf("no fix in %s", out.String())
	}
}
