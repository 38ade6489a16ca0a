package agent

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// loopback is the address that all agents listen on.
const loopback = "127.0.0.1"

// settings is the part of an agent's configuration file that the tests need. LeaveOnTerminate is
// always false, because an agent that crashes does not leave the cluster.
type settings struct {
	NodeName            string          `json:"node_name"`
	Datacenter          string          `json:"datacenter"`
	BindAddr            string          `json:"bind_addr"`
	ClientAddr          string          `json:"client_addr"`
	Server              bool            `json:"server"`
	Bootstrap           bool            `json:"bootstrap,omitempty"`
	BootstrapExpect     int             `json:"bootstrap_expect,omitempty"`
	RetryJoin           []string        `json:"retry_join,omitempty"`
	RetryInterval       string          `json:"retry_interval,omitempty"`
	Ports               ports           `json:"ports"`
	Performance         performance     `json:"performance"`
	Autopilot           map[string]bool `json:"autopilot,omitempty"`
	GossipLAN           map[string]any  `json:"gossip_lan,omitempty"`
	Connect             map[string]bool `json:"connect"`
	UI                  map[string]bool `json:"ui_config"`
	ACL                 *acl            `json:"acl,omitempty"`
	Limits              limits          `json:"limits"`
	LogLevel            string          `json:"log_level"`
	NoUpdateCheck       bool            `json:"disable_update_check"`
	LeaveOnTerminate    bool            `json:"leave_on_terminate"`
	CheckUpdateInterval string          `json:"check_update_interval,omitempty"`

	// dev is a command-line flag and not part of the file.
	dev bool
}

type performance struct {
	// RaftMultiplier scales the Raft timeouts: with 1, elections take a second instead of five.
	RaftMultiplier int `json:"raft_multiplier"`
}

type limits struct {
	MaxConnections int `json:"http_max_conns_per_client,omitempty"`
}

// ports holds the ports that an agent listens on; -1 turns a listener off.
type ports struct {
	HTTP    int `json:"http"`
	Server  int `json:"server"`
	SerfLAN int `json:"serf_lan"`
	SerfWAN int `json:"serf_wan"`
	HTTPS   int `json:"https"`
	GRPC    int `json:"grpc"`
	GRPCTLS int `json:"grpc_tls"`
	DNS     int `json:"dns"`
}

// acl is the ACL part of the settings. The TTLs are short, so that a revoked token is soon refused.
type acl struct {
	Enabled       bool      `json:"enabled"`
	DefaultPolicy string    `json:"default_policy"`
	TokenTTL      string    `json:"token_ttl"`
	PolicyTTL     string    `json:"policy_ttl"`
	RoleTTL       string    `json:"role_ttl"`
	Tokens        aclTokens `json:"tokens"`
}

// aclTokens holds the secrets of the tokens. It prints as "[redacted]".
type aclTokens struct {
	InitialManagement string `json:"initial_management"`
	Agent             string `json:"agent"`
}

func (aclTokens) String() string   { return "[redacted]" }
func (aclTokens) GoString() string { return "[redacted]" }

func newSettings(cfg Config) settings {
	if cfg.Datacenter == "" {
		cfg.Datacenter = "dc1"
	}
	s := settings{
		NodeName:   "agent-" + strings.ToLower(rand.Text()[:6]),
		Datacenter: cfg.Datacenter,
		BindAddr:   loopback,
		ClientAddr: loopback,
		Server:     true,
		// Development mode bootstraps by itself.
		Bootstrap:     cfg.Durable,
		Performance:   performance{RaftMultiplier: 1},
		Connect:       map[string]bool{"enabled": false},
		UI:            map[string]bool{"enabled": false},
		Limits:        limits{MaxConnections: cfg.MaxConnections},
		LogLevel:      "info",
		NoUpdateCheck: true,
		dev:           !cfg.Durable,
	}
	if cfg.PromptOutputs {
		s.CheckUpdateInterval = "1s"
	}
	if cfg.ACL {
		token := newUUID()
		s.ACL = &acl{
			Enabled: true, DefaultPolicy: "deny", TokenTTL: "1s", PolicyTTL: "1s", RoleTTL: "1s",
			Tokens: aclTokens{InitialManagement: token, Agent: token},
		}
	}
	return s
}

// write stores the settings in dir and returns the arguments that make an agent use them.
func (s settings) write(dir string) ([]string, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "agent.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	if s.dev {
		return []string{"agent", "-dev", "-config-file=" + file}, nil
	}
	return []string{"agent", "-config-file=" + file, "-data-dir=" + filepath.Join(dir, "data")}, nil
}

// newUUID returns a random UUID, which is the format of a token's secret.
func newUUID() string {
	var b [16]byte
	// Read is documented never to fail.
	_, _ = rand.Read(b[:])
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
