package deptest

// Third-party modules that only a few packages may import.
const (
	quicTree   = "github.com/quic-go/quic-go/..."
	otelTree   = "go.opentelemetry.io/..."
	consulTree = "github.com/hashicorp/..."
	yamlTree   = "go.yaml.in/yaml/..."
)

// Rules returns the import rules of docs/design.md:
//
//	examples, cmd, integration → linktest → protocol/* → link →
//	discovery, security, topology, tracing, codec, internal/*
func Rules() []Rule {
	rules := []Rule{
		{
			Reason: "only internal/transport and linktest know QUIC",
			From:   []string{"./..."},
			Except: []string{"./internal/transport/...", "./linktest/..."},
			Never:  []string{quicTree},
			Tests:  true,
		},
		{
			Reason: "sessions know no QUIC, only internal/transport/quicconn does",
			From:   []string{"./internal/transport/..."},
			Except: []string{"./internal/transport/quicconn"},
			Never:  []string{quicTree},
		},
		{
			Reason: "what sessions need of a connection is an interface: standard library and wire only",
			From:   []string{"./internal/transport/carrier"},
			Only:   []string{"std", "./internal/wire"},
		},
		{
			Reason: "memconn and carriertest are for tests",
			From:   []string{"./..."},
			Except: []string{"./internal/transport/memconn", "./internal/transport/carriertest"},
			Never:  []string{"./internal/transport/memconn", "./internal/transport/carriertest"},
		},
		{
			Reason: "only tracing and internal/trace know OpenTelemetry",
			From:   []string{"./..."},
			Except: []string{"./tracing/...", "./internal/trace/..."},
			Never:  []string{otelTree},
		},
		{
			Reason: "only discovery/consul talks to Consul",
			From:   []string{"./..."},
			Except: []string{"./discovery/consul/...", "./integration/..."},
			Never:  []string{consulTree},
			Tests:  true,
		},
		{
			Reason: "the wire format is bytes and values: standard library only",
			From:   []string{"./internal/wire/..."},
			Only:   []string{"std", "./internal/wire/..."},
		},
		{
			Reason: "sharing is arithmetic: standard library only",
			From:   []string{"./internal/share/..."},
			Only:   []string{"std", "./internal/share"},
		},
		{
			Reason: "the socket knows no QUIC: standard library and system calls only",
			From:   []string{"./internal/udp/..."},
			Only:   []string{"std", "golang.org/x/net/...", "golang.org/x/sys/...", "./internal/clock"},
		},
		{
			Reason: "escaping text is a function: standard library only",
			From:   []string{"./internal/foreign/..."},
			Only:   []string{"std"},
		},
		{
			Reason: "small tools stand alone: standard library only",
			From:   []string{"./internal/backoff/...", "./internal/bounds/...", "./internal/codes/...", "./internal/hash/...", "./internal/notify/...", "./internal/place/..."},
			Only:   []string{"std"},
		},
		{
			Reason: "a log at a limited rate stands alone: standard library and a limiter only",
			From:   []string{"./internal/limitlog/..."},
			Only:   []string{"std", "golang.org/x/time/rate"},
		},
		{
			Reason: "rules for a certificate are functions: standard library only",
			From:   []string{"./internal/certrules/..."},
			Only:   []string{"std"},
		},
		{
			Reason: "topology is pure rules: standard library and YAML, hashes and codes only",
			From:   []string{"./topology/...", "./internal/policy/..."},
			Except: []string{"./internal/policy/policytest"},
			Only:   []string{"std", yamlTree, "./topology/...", "./internal/policy/...", "./internal/codes", "./internal/hash"},
			Deep:   true,
		},
		{
			Reason: "internal/transport receives a *tls.Config and addresses, it knows no identity and no registry",
			From:   []string{"./internal/transport/..."},
			Never:  []string{"./security/...", "./internal/mtls/...", "./discovery/...", "./topology/...", "."},
			Deep:   true,
		},
		{
			Reason: "what link is built of does not know link",
			From:   foundationPatterns(),
			Never:  []string{".", "./protocol/...", "./linktest/...", "./cmd/...", "./examples/..."},
			Deep:   true,
		},
		{
			Reason: "tracing is functions on strings and carriers; link calls them",
			From:   []string{"./tracing/...", "./internal/trace/..."},
			Never:  []string{"./discovery/...", "./security/...", "./topology/...", "./internal/transport/..."},
		},
		{
			Reason: "discovery, identity, routing and codecs do not need a network protocol",
			From:   []string{"./discovery/...", "./security/...", "./internal/mtls/...", "./topology/...", "./internal/policy/...", "./codec/...", "./tracing/...", "./internal/trace/...", "./internal/wire/..."},
			Never:  []string{quicTree, "./internal/transport/..."},
			Deep:   true,
		},
		{
			Reason: "link does not know the patterns built on it",
			From:   []string{"."},
			Never:  []string{"./protocol/...", "./linktest/...", "./cmd/...", "./examples/..."},
			Deep:   true,
		},
		{
			Reason: "a pattern uses only what a user's own pattern could use: link's public packages, the standard library, and of the internal ones the log on disk, the sharing of bounds, spans and small tools, which know nothing of link",
			From:   []string{"./protocol/..."},
			Only: []string{
				"std", ".", "./codec/...", "./discovery/...", "./security/...", "./topology/...", "./tracing/...", "./protocol/...",
				"./internal/backoff", "./internal/foreign", "./internal/hash", "./internal/notify", "./internal/share", "./internal/spell", "./internal/trace", "./internal/wal",
			},
		},
		{
			Reason: "what publishers run and what subscribers run know their frames and the log, and neither each other nor the typed face",
			From:   []string{"./protocol/pubsub/internal/..."},
			Never:  []string{"./protocol/pubsub", "./protocol/pubsub/internal/serve/...", "./protocol/pubsub/internal/receive/..."},
		},
		{
			Reason: "linktest is for tests",
			From:   []string{"./..."},
			Except: []string{"./linktest/...", "./examples/...", "./integration/..."},
			Never:  []string{"./linktest/..."},
		},
		{
			Reason: "commands and examples are ends, not libraries",
			From:   []string{"./..."},
			Except: []string{"./cmd/...", "./examples/...", "./integration/..."},
			Never:  []string{"./cmd/...", "./examples/..."},
		},
		{
			Reason: "use the testing package and go-cmp",
			From:   []string{"./..."},
			Never:  []string{"github.com/stretchr/testify/..."},
			Tests:  true,
		},
		{
			Reason: "use math/rand/v2, or crypto/rand for secrets",
			From:   []string{"./..."},
			Never:  []string{"math/rand"},
			Tests:  true,
		},
		{
			Reason: "deptest is for go test",
			From:   []string{"./..."},
			Never:  []string{"./internal/deptest/..."},
			Tests:  true,
		},
	}
	return append(rules, patternsApart()...)
}

// foundationPatterns returns patterns for the packages below link.
func foundationPatterns() []string {
	return []string{
		"./discovery/...", "./security/...", "./topology/...", "./tracing/...", "./codec/...", "./internal/...",
	}
}

// patternsApart returns rules that forbid each pattern to import the others.
func patternsApart() []Rule {
	patterns := []string{"./protocol/reqrep/...", "./protocol/pubsub/...", "./protocol/pipeline/..."}
	var rules []Rule
	for i, one := range patterns {
		others := make([]string, 0, len(patterns))
		others = append(append(others, patterns[:i]...), patterns[i+1:]...)
		rules = append(rules, Rule{
			Reason: "patterns never import each other",
			From:   []string{one},
			Never:  others,
			Tests:  true,
		})
	}
	return rules
}
