package topology_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/policytest"
	"github.com/linkmesh/link/topology"
)

func FuzzParse(f *testing.F) {
	archive, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		if strings.HasSuffix(file.Name, ".yaml") {
			f.Add(file.Data)
		}
	}
	readme, err := os.ReadFile("testdata/readme.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(readme)
	f.Add([]byte(policytest.Full))
	f.Add([]byte(`{"version": "link/v1", "services": {"a": {"routes": [{"to": {"any": 100}}]}}}`))

	f.Fuzz(func(t *testing.T, data []byte) {
		doc, err := topology.Parse("fuzz.yaml", data)
		if err != nil {
			var fe *topology.FieldError
			if doc != nil || !errors.As(err, &fe) || fe.Origin != "fuzz.yaml" || strings.ContainsAny(err.Error(), "\x00\x1b\x07") {
				t.Errorf("document %v and error %q", doc, err)
			}
			return
		}
		if err := doc.Validate(); err != nil {
			t.Errorf("Parse took what Validate refuses: %v", err)
		}
		again, err := topology.Parse("again", data)
		if err != nil || !again.Equal(doc) {
			t.Errorf("parsed again it is another document: %v", err)
		}
		p, err := policy.Compile(policy.Options{AllowFaults: true}, policy.Layer{Document: doc, Trusted: true})
		if err != nil {
			t.Fatalf("a valid document does not compile: %v", err)
		}
		for name := range doc.Services {
			r := policy.Request{Kind: "method", Name: "a", Random: 7}
			if text := policy.Explain(p, name, r, policy.Locality{}, nil).String(); !strings.HasPrefix(text, "method "+name+"/a\n") {
				t.Errorf("%s is explained as %q", name, text)
			}
		}
	})
}
