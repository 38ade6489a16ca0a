package integration

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/linkmesh/link/integration/internal/agent"
)

// TestTheVersionOfConsulIsTheSameEverywhere holds docker-compose.yml and the harness to the version
// that consul-agent/go.mod pins.
func TestTheVersionOfConsulIsTheSameEverywhere(t *testing.T) {
	t.Parallel()
	module, err := os.ReadFile("consul-agent/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	pin := regexp.MustCompile(`(?m)^(?:require )?\s*github\.com/hashicorp/consul (v\S+)`).FindSubmatch(module)
	if pin == nil {
		t.Fatal("consul-agent/go.mod requires no github.com/hashicorp/consul")
	}
	if !regexp.MustCompile(`(?m)^tool github\.com/hashicorp/consul$`).Match(module) {
		t.Error("consul-agent/go.mod does not pin the agent as a tool")
	}
	version := string(pin[1])
	if agent.Version != version {
		t.Errorf("the harness starts %s, want %s", agent.Version, version)
	}

	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Services map[string]struct {
			Image       string   `yaml:"image"`
			Command     []string `yaml:"command"`
			Ports       []string `yaml:"ports"`
			Healthcheck struct {
				Test     []string `yaml:"test"`
				Interval string   `yaml:"interval"`
				Timeout  string   `yaml:"timeout"`
				Retries  int      `yaml:"retries"`
			} `yaml:"healthcheck"`
		} `yaml:"services"`
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatalf("docker-compose.yml: %v", err)
	}
	consul, ok := file.Services["consul"]
	if want := "hashicorp/consul:" + strings.TrimPrefix(version, "v"); !ok || consul.Image != want {
		t.Errorf("docker-compose.yml runs %q, want %q", consul.Image, want)
	}
	for _, port := range consul.Ports {
		if !strings.HasPrefix(port, "127.0.0.1:") {
			t.Errorf("port %s of an agent without ACLs is open to the network", port)
		}
	}
}
