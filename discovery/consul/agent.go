package consul

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/hashicorp/consul/api"

	"github.com/linkmesh/link/discovery"
)

// checkNotes explains the check to readers of Consul's UI.
var checkNotes = fmt.Sprintf("The process renews this check every %v, by itself. Without that for %v its instance gets no calls from link; "+ //nolint:gochecknoglobals // a constant
	"without it for %v more Consul removes the instance.", heartbeatEvery, checkTTL, deregisterAfter)

// checkOutput returns the output of the check in Consul's UI: which process is alive, and where.
// It never changes for one process, because each change of an output is a write to the servers. If
// the agent syncs the registration before the first heartbeat, the catalog shows the text up to one
// and a half check_update_interval later, which is 5 minutes by default.
func checkOutput(in discovery.Instance) string {
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	text := fmt.Sprintf("alive: process %d on %s serves %s in namespace %s at %s over link/%s (UDP)",
		os.Getpid(), host, in.Service, in.Namespace, in.Addr, protocol)
	if !in.Started.IsZero() {
		text += ", since " + in.Started.UTC().Format(time.RFC3339)
	}
	return text
}

// maintenanceReason is the text that Consul's UI shows for a draining instance.
const maintenanceReason = "link: draining"

// holding is the entry that the agent has under an ID.
type holding struct {
	// service is nil if the agent has no entry.
	service *api.AgentService

	// owner is the registration that wrote the entry, or "" if link did not write it.
	owner string

	// live means that its heartbeat has not expired.
	live        bool
	maintenance bool

	// checked means that the entry has the heartbeat check.
	checked bool
}

func writeRule(service string) string { return `service "` + service + `" { policy = "write" }` }

// held asks the agent for its entry under the ID of g.
func (c *client) held(ctx context.Context, what string, g *registration) (holding, error) {
	var info *api.AgentServiceChecksInfo
	// The agent reports an instance that is critical or in maintenance with status 503.
	p := errand{what: what, needs: writeRule(g.query.Service), whole: true}
	_, err := c.call(ctx, p, func(ctx context.Context) error {
		var err error
		_, info, err = c.api.Agent().AgentHealthServiceByIDOpts(g.id, (&api.QueryOptions{}).WithContext(ctx))
		return err
	})
	if err != nil {
		return holding{}, err
	}
	if info == nil || info.Service == nil {
		return holding{}, nil
	}
	h := holding{service: info.Service, owner: info.Service.Meta[metaOwner], live: true}
	for _, check := range info.Checks {
		switch {
		case check == nil:
		case strings.HasPrefix(check.CheckID, api.ServiceMaintPrefix), check.CheckID == api.NodeMaint:
			h.maintenance = true
		case check.Status == api.HealthCritical:
			h.live = false
			fallthrough
		default:
			h.checked = h.checked || check.CheckID == checkID(g.id, g.owner)
		}
	}
	return h, nil
}

// put writes a registration to the agent. fresh removes checks left by an earlier owner of the ID.
func (c *client) put(ctx context.Context, what string, reg *api.AgentServiceRegistration, fresh bool) error {
	_, err := c.call(ctx, errand{what: what, needs: writeRule(reg.Name)}, func(ctx context.Context) error {
		opts := api.ServiceRegisterOpts{ReplaceExistingChecks: fresh}
		return c.api.Agent().ServiceRegisterOpts(reg, opts.WithContext(ctx))
	})
	if err != nil && kindOf(err) == missing {
		// Every Consul agent has this endpoint.
		return &failure{kind: garbled, what: what, reason: c.stranger() + "it answers 404"}
	}
	return err
}

// beat renews the check of the service. A failure of kind missing means that the agent does not know
// the check.
func (c *client) beat(ctx context.Context, what string, g *registration) error {
	p := errand{what: what, needs: writeRule(g.query.Service), time: heartbeatEvery}
	x, err := c.call(ctx, p, func(ctx context.Context) error {
		o := (&api.QueryOptions{}).WithContext(ctx)
		return c.api.Agent().UpdateTTLOpts(checkID(g.id, g.owner), checkOutput(g.in), api.HealthPassing, o)
	})
	// Agents before 1.11 answer 500 instead of 404 (agent/agent.go, updateTTLCheck).
	if err != nil && x.status == http.StatusInternalServerError && strings.Contains(err.Error(), "does not have associated TTL") {
		return &failure{kind: missing, what: what, reason: "the agent has no such check"}
	}
	return err
}

// maintain turns maintenance mode on or off.
func (c *client) maintain(ctx context.Context, what string, g *registration, on bool) error {
	_, err := c.call(ctx, errand{what: what, needs: writeRule(g.query.Service)}, func(ctx context.Context) error {
		o := (&api.QueryOptions{}).WithContext(ctx)
		if on {
			return c.api.Agent().EnableServiceMaintenanceOpts(g.id, maintenanceReason, o)
		}
		return c.api.Agent().DisableServiceMaintenanceOpts(g.id, o)
	})
	return err
}

// remove deregisters the instance. It returns nil if the agent does not know the instance.
func (c *client) remove(ctx context.Context, what string, g *registration) error {
	_, err := c.call(ctx, errand{what: what, needs: writeRule(g.query.Service)}, func(ctx context.Context) error {
		return c.api.Agent().ServiceDeregisterOpts(g.id, (&api.QueryOptions{}).WithContext(ctx))
	})
	if err != nil && kindOf(err) == missing {
		return nil
	}
	return err
}
