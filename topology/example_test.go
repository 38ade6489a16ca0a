package topology_test

import (
	"fmt"

	"github.com/linkmesh/link/topology"
)

// Parse reports each problem of a document with its line, column and field.
func ExampleParse() {
	_, err := topology.Parse("topology.yaml", []byte(`
version: link/v1
services:
  orders:
    subsets:
      stable: { tags: [v1] }
      canary: { tags: [v2] }
    routes:
      - { to: { stable: 95, canray: 5 }, stikcy: meta:user-id }
      - { match: { method: orders/export }, timeout: 30 }
`))
	fmt.Println(err)
	// Output:
	// topology.yaml:9:42: services.orders.routes[0].stikcy: unknown key; did you mean "sticky"?
	// topology.yaml:10:54: services.orders.routes[1].timeout: is "30", want a time such as 200ms, 5s or 2m; it lacks a unit
}
