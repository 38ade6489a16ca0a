package link_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/linkmesh/link"
	"github.com/linkmesh/link/discovery"
	"github.com/linkmesh/link/linktest"
	"github.com/linkmesh/link/protocol/reqrep"
)

// ruled is the registry of the mesh with documents that can be written and deleted, as in Consul's KV.
type ruled struct {
	discovery.Registry

	mu sync.Mutex
	// docs maps services to their documents.
	docs    map[string]string
	changed chan struct{}
}

func newRuled(mesh *linktest.Mesh) *ruled {
	return &ruled{Registry: mesh.Registry(), docs: make(map[string]string), changed: make(chan struct{})}
}

// write replaces the documents of services and gives them time to come into force. An empty text deletes a document.
func (r *ruled) write(docs map[string]string) {
	r.mu.Lock()
	maps.Copy(r.docs, docs)
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	sleep(100 * time.Millisecond)
}

func (r *ruled) WatchPolicy(ctx context.Context, q discovery.Query) (<-chan discovery.PolicyDocument, error) {
	ch := make(chan discovery.PolicyDocument)
	go func() {
		defer close(ch)
		last, first := "", true
		for {
			r.mu.Lock()
			doc, changed := r.docs[q.Service], r.changed
			r.mu.Unlock()
			if doc != last || first {
				p := discovery.PolicyDocument{Origin: "KV " + q.Service}
				if doc != "" {
					p.Document = []byte(doc)
				}
				select {
				case ch <- p:
				case <-ctx.Done():
					return
				}
				last, first = doc, false
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return ch, nil
}

// redirect returns a document that sends calls of one service to another.
func redirect(from, to string) string {
	return "version: link/v1\nservices: { " + from + ": { routes: [{ to: service:" + to + " }] } }\n"
}

// problemsOf returns the origins of the documents that are not in force.
func problemsOf(client *link.Node) []string {
	var out []string
	for _, s := range client.Status().Topology {
		if s.Err != nil {
			out = append(out, s.Origin)
		}
	}
	return out
}

// reached calls a service and returns the first tag of the instance that answered.
func reached(t *testing.T, client *link.Node, service string) string {
	t.Helper()
	var who link.Peer
	method := reqrep.NewMethod[order, order](service, "get", link.ReadOnly)
	if _, err := reqrep.Call(t.Context(), client, method, order{ID: "o"}, link.AnsweredBy(&who)); err != nil {
		t.Fatal(err)
	}
	return who.Tags[0]
}

func TestADocumentThatDidNotFitComesIntoForceWhenItDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "old")
		serveCopies(mesh, "orders-new", link.Config{Tags: []string{"new"}}, keep)
		registry := newRuled(mesh)
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Routing: link.Routing{AllowRedirect: []string{"orders", "orders-new"}}, Logger: log.logger()})
		registry.write(map[string]string{"orders": redirect("orders", "orders-new")})
		if got := reached(t, client, "orders"); got != "new" {
			t.Fatalf("%s answers to begin with", got)
		}
		registry.write(map[string]string{"orders-new": redirect("orders-new", "orders")})
		if got := problemsOf(client); !slices.Equal(got, []string{"KV orders-new"}) {
			t.Fatalf("out of force are %q, want the one that makes a circle; log:\n%s", got, log)
		}
		if got := reached(t, client, "orders-new"); got != "new" {
			t.Errorf("%s answers calls of orders-new while its document waits", got)
		}
		registry.write(map[string]string{"orders": ""})
		if got := problemsOf(client); len(got) != 0 {
			t.Errorf("out of force are %q still", got)
		}
		for _, service := range []string{"orders", "orders-new"} {
			if got := reached(t, client, service); got != "old" {
				t.Errorf("%s answers calls of %s once the other document is gone", got, service)
			}
		}
		registry.write(map[string]string{"orders-new": ""})
		if got := reached(t, client, "orders-new"); got != "new" {
			t.Errorf("%s answers after all documents are gone", got)
		}
	})
}

func TestADocumentThatWaitsAndIsDeletedNeverComesIntoForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "old")
		serveCopies(mesh, "orders-new", link.Config{Tags: []string{"new"}}, keep)
		registry := newRuled(mesh)
		client := mesh.Node(link.Config{Registry: registry, Routing: link.Routing{AllowRedirect: []string{"orders", "orders-new"}}})
		registry.write(map[string]string{"orders": redirect("orders", "orders-new")})
		reached(t, client, "orders")
		registry.write(map[string]string{"orders-new": redirect("orders-new", "orders")})
		registry.write(map[string]string{"orders-new": ""})
		registry.write(map[string]string{"orders": ""})
		if got := reached(t, client, "orders-new"); got != "new" || len(problemsOf(client)) != 0 {
			t.Errorf("%s answers calls of orders-new, and out of force are %q", got, problemsOf(client))
		}
	})
}

// TestTheNodesOwnTopologyIsNotKeptOutByARegistrys changes a file to conflict with the registry's documents, and back.
func TestTheNodesOwnTopologyIsNotKeptOutByARegistrys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mesh := linktest.NewMesh(t)
		ordersAt(mesh, "old")
		serveCopies(mesh, "orders-new", link.Config{Tags: []string{"new"}}, keep)
		serveCopies(mesh, "billing", link.Config{Tags: []string{"billing"}}, keep)
		path := filepath.Join(t.TempDir(), "topology.yaml")
		write := func(text string) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			sleep(3 * time.Second)
		}
		write("version: link/v1\n")
		registry := newRuled(mesh)
		log := &logBuffer{}
		client := mesh.Node(link.Config{Registry: registry, Routing: link.Routing{TopologyFile: path, AllowRedirect: []string{"orders", "orders-new"}}, Logger: log.logger()})
		for _, service := range []string{"orders", "orders-new", "billing"} {
			reached(t, client, service)
		}
		registry.write(map[string]string{"orders": redirect("orders", "orders-new"), "billing": redirect("billing", "orders")})
		if orders, billing := reached(t, client, "orders"), reached(t, client, "billing"); orders != "new" || billing != "new" {
			t.Fatalf("%s and %s answer to begin with", orders, billing)
		}
		write(redirect("orders-new", "orders"))
		if got := problemsOf(client); !slices.Equal(got, []string{"KV orders"}) {
			t.Errorf("out of force are %q, want the one that clashes with the file; log:\n%s", got, log)
		}
		for _, service := range []string{"orders", "orders-new", "billing"} {
			if got := reached(t, client, service); got != "old" {
				t.Errorf("%s answers calls of %s by the file", got, service)
			}
		}
		write("version: link/v1\n# nothing\n")
		if got := problemsOf(client); len(got) != 0 {
			t.Errorf("out of force are %q though the file says nothing any more", got)
		}
		if got := reached(t, client, "orders"); got != "new" {
			t.Errorf("%s answers calls of orders once the file says nothing", got)
		}
		if n := strings.Count(log.String(), "gives way to those of this node itself"); n != 1 {
			t.Errorf("%d lines say that a document gave way:\n%s", n, log)
		}
	})
}
