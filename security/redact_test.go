package security_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/linkmesh/link/security"
)

func TestSecretsNeverPrint(t *testing.T) {
	secret := testSecret()
	src := mustCluster(t, base64.RawURLEncoding.EncodeToString(secret), "orders")
	svid, err := src.SVID()
	if err != nil {
		t.Fatal(err)
	}
	leafKey, ok := svid.Certificate.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		t.Fatalf("key is a %T", svid.Certificate.PrivateKey)
	}
	leafSecret, err := leafKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := hkdf.Key(sha256.New, secret, nil, "link/v1/root", ed25519.SeedSize)
	if err != nil {
		t.Fatal(err)
	}

	type inField struct {
		Source security.Source
		SVID   *security.SVID
		// fmt cannot call methods of values in unexported fields.
		hidden security.Source
		svid   *security.SVID
	}
	values := []any{
		src,
		svid,
		*svid,
		[]security.SVID{*svid},
		map[string]any{"source": src},
		inField{Source: src, SVID: svid, hidden: src, svid: svid},
		&inField{Source: src, SVID: svid, hidden: src, svid: svid},
	}
	var printed []string
	for _, value := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			printed = append(printed, fmt.Sprintf(verb, value))
		}
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", "value", value)
		printed = append(printed, log.String())
	}
	for _, value := range []any{src, svid, *svid} {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("json", "value", value)
		printed = append(printed, log.String())
	}
	secrets := map[string][]byte{"cluster secret": secret, "root key": seed, "leaf key": leafSecret}
	for _, text := range printed {
		for name, raw := range secrets {
			for _, form := range formsOf(raw) {
				if strings.Contains(strings.ToLower(text), strings.ToLower(form)) {
					t.Errorf("the %s shows in %.200q", name, text)
				}
			}
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v"} {
		if got, want := fmt.Sprintf(verb, src), "Source(cluster-secret "+src.ID().String()+")"; got != want {
			t.Errorf("source prints as %q, want %q", got, want)
		}
		if got, want := fmt.Sprintf(verb, svid), "SVID("+src.ID().String()+")"; got != want {
			t.Errorf("SVID prints as %q, want %q", got, want)
		}
	}
}

// formsOf returns the forms in which bytes from the middle of a secret could be printed.
func formsOf(raw []byte) []string {
	part := raw[8:16]
	list := strings.Trim(fmt.Sprintf("%d", part), "[]")
	syntax := strings.TrimSuffix(strings.TrimPrefix(fmt.Sprintf("%#v", part), "[]byte{"), "}")
	encoded := base64.StdEncoding.EncodeToString(raw)
	return []string{hex.EncodeToString(part), list, syntax, string(part), encoded[8:24], base64.URLEncoding.EncodeToString(raw)[8:24]}
}
