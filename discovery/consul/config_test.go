package consul

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/security"
)

// clearEnv clears the CONSUL_ variables of the user who runs the tests.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if key, _, _ := strings.Cut(v, "="); strings.HasPrefix(key, "CONSUL_") {
			t.Setenv(key, "")
		}
	}
}

func TestAddresses(t *testing.T) {
	clearEnv(t)
	for _, c := range []struct {
		cfg, env, ssl string
		// url is the expected prefix of a request's URL.
		url string
	}{
		{url: "http://127.0.0.1:8500/v1"},
		{cfg: "10.0.0.1:8500", env: "10.0.0.2:8500", url: "http://10.0.0.1:8500/v1"},
		{env: "10.0.0.2:8500", url: "http://10.0.0.2:8500/v1"},
		{env: "https://consul.example:8501", url: "https://consul.example:8501/v1"},
		{env: "http://consul.example:8500", ssl: "true", url: "https://consul.example:8500/v1"},
		{env: "consul.example:8500", ssl: "1", url: "https://consul.example:8500/v1"},
		{cfg: "https://gate.example/consul", url: "https://gate.example/consul/v1"},
		{cfg: "localhost:8500", url: "http://localhost:8500/v1"},
		{cfg: "[::1]:8500", url: "http://[::1]:8500/v1"},
		{cfg: "http://localhost", url: "http://localhost/v1"},
		{cfg: "unix:///run/consul.sock", url: "http://localhost/v1"},
	} {
		t.Setenv("CONSUL_HTTP_ADDR", c.env)
		t.Setenv("CONSUL_HTTP_SSL", c.ssl)
		r, err := New(Config{Address: c.cfg, StateDir: stateOff})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		var got string
		r.client.gate.next = roundTrip(func(req *http.Request) (*http.Response, error) {
			got = req.URL.String()
			return nil, errors.New("enough")
		})
		_, _ = r.Register(t.Context(), instance("orders-1"))
		if !strings.HasPrefix(got, c.url) {
			t.Errorf("%+v: asks %s", c, got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConfigNamesTheWrongValue(t *testing.T) {
	clearEnv(t)
	missing := filepath.Join(t.TempDir(), "none")
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte(" \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		cfg  Config
		env  map[string]string
		says string
	}{
		"scheme":                 {Config{Address: "ftp://x"}, nil, "ftp://x"},
		"socket":                 {Config{Address: "unix://run"}, nil, "unix://run"},
		"no host":                {Config{Address: "http://"}, nil, "Address"},
		"spaces":                 {Config{Address: "a b"}, nil, "a b"},
		"address in env":         {Config{}, map[string]string{"CONSUL_HTTP_ADDR": "ftp://y"}, `CONSUL_HTTP_ADDR "ftp://y"`},
		"no port":                {Config{}, map[string]string{"CONSUL_HTTP_ADDR": "localhost"}, `CONSUL_HTTP_ADDR "localhost": it has no port; Consul's is 8500, so perhaps localhost:8500`},
		"empty port":             {Config{Address: "localhost:"}, nil, "perhaps localhost:8500"},
		"no port, IPv6":          {Config{Address: "::1"}, nil, "perhaps [::1]:8500"},
		"no port, with brackets": {Config{Address: "[::1]"}, nil, "perhaps [::1]:8500"},
		"no port, with a path":   {Config{Address: "gate/consul"}, nil, "has no port"},
		"named port":             {Config{Address: "localhost:http"}, nil, "from 1 to 65535"},
		"port 0":                 {Config{Address: "http://localhost:0"}, nil, "from 1 to 65535"},
		"user in address":        {Config{Address: "http://me:s3cr3t@host"}, nil, "CONSUL_HTTP_AUTH"},
		"datacenter":             {Config{Datacenters: []string{"dc1", "a/b"}}, nil, `Datacenters[1] "a/b"`},
		"datacenters":            {Config{Datacenters: make([]string, maxDatacenters+1)}, nil, "17 names"},
		"token file":             {Config{TokenFile: missing}, nil, missing},
		"token file in env":      {Config{}, map[string]string{"CONSUL_HTTP_TOKEN_FILE": missing}, "CONSUL_HTTP_TOKEN_FILE"},
		"empty token file":       {Config{TokenFile: empty}, nil, "is empty"},
		"SSL":                    {Config{}, map[string]string{"CONSUL_HTTP_SSL": "maybe"}, `CONSUL_HTTP_SSL "maybe"`},
		"no verify, with a typo": {Config{}, map[string]string{"CONSUL_HTTP_SSL_VERIFY": "flase"}, `"flase"`},
		"CA":                     {Config{}, map[string]string{"CONSUL_CACERT": missing}, missing},
		"key without cert":       {Config{}, map[string]string{"CONSUL_CLIENT_KEY": missing}, "TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			for key, value := range c.env {
				t.Setenv(key, value)
			}
			_, err := New(c.cfg)
			if !errors.Is(err, discovery.ErrInvalidConfig) || !strings.HasPrefix(err.Error(), "consul: invalid config: ") ||
				!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cr3t") {
				t.Errorf("error %v, want ErrInvalidConfig with %q", err, c.says)
			}
		})
	}
}

func TestWhichTokenIsUsed(t *testing.T) {
	clearEnv(t)
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(name+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct{ token, file, envToken, envFile, want string }{
		{"", "", "", "", ""},
		{"", "", "env", "", "env"},
		{"", "", "env", file("env-file"), "env-file"},
		{"cfg", "", "env", file("env-file"), "cfg"},
		{"cfg", file("cfg-file"), "env", file("env-file"), "cfg-file"},
		{"cfg", "", "", filepath.Join(dir, "missing"), "cfg"},
	} {
		t.Setenv("CONSUL_HTTP_TOKEN", c.envToken)
		t.Setenv("CONSUL_HTTP_TOKEN_FILE", c.envFile)
		r, err := New(Config{Token: security.Hide(c.token), TokenFile: c.file, StateDir: stateOff})
		if err != nil {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		got := "no request"
		r.client.gate.next = roundTrip(func(req *http.Request) (*http.Response, error) {
			got = req.Header.Get("X-Consul-Token")
			return nil, errors.New("enough")
		})
		_, _ = r.Register(t.Context(), instance("orders-1"))
		if got != c.want {
			t.Errorf("%+v: the request has %q", c, got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	clearEnv(t)
	t.Setenv("CONSUL_HTTP_TOKEN", "s3cr3t-2")
	t.Setenv("CONSUL_HTTP_AUTH", "me:s3cr3t-3")
	cfg := Config{Token: security.Hide("s3cr3t-1"), StateDir: stateOff, Address: "127.0.0.1:1"}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, failed := r.Register(t.Context(), instance("orders-1"))
	if failed == nil {
		t.Fatal("registered with nobody")
	}
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, nil))
	logger.Info("x", "cfg", cfg, "r", r, "token", secret("s3cr3t-1"), "err", failed)
	data, err := json.Marshal(secret("s3cr3t-1"))
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		fmt.Sprintf("%v %+v %#v %s %q", cfg, cfg, cfg, cfg, cfg),
		fmt.Sprintf("%v %+v %#v %s %q", r, r, r, r, r),
		fmt.Sprintf("%v %+v %#v %s %q", secret("s3cr3t-1"), &cfg, secret("s3cr3t-1"), secret("s3cr3t-1"), secret("s3cr3t-1")),
		failed.Error(), log.String(), string(data),
	} {
		if strings.Contains(text, "s3cr3t") {
			t.Errorf("a secret is printed: %s", text)
		}
	}
}

func TestATokenIsNotTakenElsewhere(t *testing.T) {
	clearEnv(t)
	r, err := New(Config{Token: security.Hide("s3cr3t"), StateDir: stateOff})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	hosts := make(map[string]bool)
	r.client.gate.next = roundTrip(func(req *http.Request) (*http.Response, error) {
		hosts[req.URL.Host] = true
		return &http.Response{
			StatusCode: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"http://evil.example/"}},
			Body: io.NopCloser(strings.NewReader("")), Request: req,
		}, nil
	})
	if _, err := r.Register(t.Context(), instance("orders-1")); err == nil {
		t.Error("a redirect counts as success")
	}
	if len(hosts) != 1 || hosts["evil.example"] {
		t.Errorf("asked %v", hosts)
	}
}
