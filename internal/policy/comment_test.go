package policy_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/linkmesh/link/internal/policy"
	"github.com/linkmesh/link/internal/policy/limits"
	"github.com/linkmesh/link/topology"
)

// TestPackageTopologyTellsTheNumbers checks that the comment of package topology, where users look, has each bound and
// each default.
func TestPackageTopologyTellsTheNumbers(t *testing.T) {
	text, err := os.ReadFile("../../topology/topology.go")
	if err != nil {
		t.Fatal(err)
	}
	comment, _, _ := strings.Cut(string(text), "\npackage topology\n")
	short := func(d time.Duration) string { return strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m") }
	between := func(least, most any) string { return fmt.Sprint(least, " to ", most) }
	for section, rows := range map[string]map[string][]string{
		"Layers": {
			"timeouts": {between(policy.LeastTimeout, short(policy.MostTimeout))},
			"retry": {
				"attempts " + between(policy.LeastRetries, policy.MostRetries), "budget " + between(policy.LeastBudget, policy.MostBudget),
			},
			"outlier": {
				"errors " + between(policy.LeastErrors, policy.MostErrors), "interval " + between(policy.LeastInterval, short(policy.MostInterval)),
				"eject " + between(policy.LeastEject, short(policy.MostEject)), "max " + between(policy.LeastEjected, policy.MostEjected),
			},
			"lb": {
				"panic " + between(policy.LeastPanic, policy.MostPanic), "slow_start up to " + short(policy.MostSlowStart),
				fmt.Sprint("subset ", policy.LeastSubset, " or more"),
			},
		},
		"Limits": {
			"document": {fmt.Sprint(limits.MaxDocument, " bytes"), fmt.Sprint(limits.MaxNesting, " levels deep")},
			"services": {fmt.Sprint(limits.MaxServices)},
			"service":  {fmt.Sprint(limits.MaxSubsets, " subsets"), fmt.Sprint(limits.MaxRoutes, " routes")},
			"failover": {fmt.Sprint(limits.MaxFailover, " entries")},
			"split":    {fmt.Sprint(limits.MaxTargets, " targets")},
			"match":    {fmt.Sprint(limits.MaxTargets, " callers"), fmt.Sprint(limits.MaxPairs, " pairs")},
			"subset":   {fmt.Sprint(limits.MaxPairs, " tags and pairs")},
			"names":    {fmt.Sprint(limits.MaxName, " bytes")},
			"values":   {fmt.Sprint(limits.MaxValue, " bytes")},
			"timeouts": {fmt.Sprint(limits.MaxDuration.Hours(), "h")},
			"retry":    {fmt.Sprint(limits.MaxAttempts, " attempts")},
			"lb":       {fmt.Sprint("subset ", limits.MaxSubsetting)},
			"chain":    {fmt.Sprint(limits.MaxDepth, " services")},
			"call":     {fmt.Sprint(limits.MaxLevels, " levels")},
			"errors":   {fmt.Sprint(limits.MaxProblems, " problems")},
		},
		"Defaults": {
			"lb": {
				"panic " + topology.Percent(limits.DefaultPanic).String(), "slow_start " + limits.DefaultSlowStart.String(),
				fmt.Sprint("subset ", limits.DefaultSubset),
			},
			"outlier": {
				fmt.Sprint("errors ", limits.DefaultErrors), "interval " + limits.DefaultInterval.String(),
				"eject " + limits.DefaultEject.String(), "max " + topology.Percent(limits.DefaultMaxEject).String(),
			},
		},
	} {
		_, after, _ := strings.Cut(comment, "\n// # "+section+"\n")
		part, _, _ := strings.Cut(after, "\n// # ")
		for label, numbers := range rows {
			row := regexp.MustCompile(`(?m)^//\t` + label + `  .*$`).FindString(part)
			for _, number := range numbers {
				if !regexp.MustCompile(`\b` + regexp.QuoteMeta(number) + `($|[^\w%])`).MatchString(row) {
					t.Errorf("section %s of the comment of package topology has no row %s with %q, but %q", section, label, number, row)
				}
			}
		}
	}
}
