package doctest_test

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// rows maps each constant to words by which the row of docs/design.md is found that holds its value.
func rows() map[string]string {
	return map[string]string{
		"protocol/internal/flow.MaxFrame":                       "frame of records",
		"protocol/internal/flow.MaxParts":                       "`flow.MaxParts`",
		"protocol/internal/flow.MaxStreams":                     "subscriptions of a node, of a service",
		"protocol/pubsub/internal/serve.MaxBlock":               "`Backpressure`",
		"protocol/pubsub/internal/serve.MaxDurable":             "durable names at a publisher",
		"protocol/pubsub/internal/serve.maxPerService":          "subscriptions of a node, of a service",
		"protocol/pubsub.maxStats":                              "entries of `Stats`",
		"protocol/pubsub.defaultPriority":                       "record of a message",
		"protocol/pubsub.maxConcurrency":                        "`Concurrency` of a handler",
		"protocol/pubsub.maxPriority":                           "record of a message",
		"protocol/pubsub.maxRetry":                              "ranges of one ack",
		"protocol/pubsub/internal/serve.MaxSubscriptions":       "subscriptions of a node, of a service",
		"protocol/pubsub/internal/receive.leastUnheard":         "`pubsub` unheard",
		"protocol/pubsub/internal/frame.MaxCause":               "ranges of one ack",
		"protocol/pubsub/internal/receive.maxDecisions":         "decisions of `Authorize`",
		"protocol/pubsub/internal/frame.maxNacks":               "ranges of one ack",
		"protocol/pubsub/internal/receive.maxMark":              "a mark of a publisher",
		"protocol/pubsub/internal/receive.maxPast":              "publishers that are gone",
		"protocol/pubsub/internal/frame.MaxSubscribe":           "SUBSCRIBE",
		"protocol/pubsub/internal/serve.maxTopics":              "topics of a node by which",
		"protocol/pubsub/internal/receive.maxUnheard":           "`pubsub` unheard",
		"protocol/pubsub/internal/journal.DefaultAge":           "what a publisher keeps",
		"protocol/pubsub/internal/journal.DefaultBacklog":       "what subscriptions take that are behind",
		"protocol/pubsub/internal/journal.DefaultBacklogAge":    "backlog of a subscription",
		"protocol/pubsub/internal/journal.DefaultBacklogBytes":  "backlog of a subscription",
		"protocol/pubsub/internal/journal.DefaultBytes":         "what a publisher keeps",
		"protocol/pubsub/internal/journal.DefaultLatestKeys":    "backlog of a subscription",
		"protocol/pubsub/internal/journal.DefaultLease":         "lease of a delivery",
		"protocol/pubsub/internal/journal.DefaultMaxDeliveries": "deliveries of a message",
		"protocol/pubsub/internal/journal.DefaultMaxMessage":    "record of a message",
		"protocol/pubsub/internal/journal.DefaultMemberCredit":  "backlog of a subscription",
		"protocol/pubsub/internal/journal.DefaultMessages":      "backlog of a subscription",
		"protocol/pubsub/internal/journal.DefaultUnacked":       "what it takes to keep the messages",
		"protocol/pubsub/internal/journal.DefaultWindow":        "that wait for acks, of a subscription",
		"protocol/pubsub/internal/journal.DefaultWindowBytes":   "that wait for acks, of a subscription",
		"protocol/pubsub/internal/journal.MaxAgain":             "SUBSCRIBE",
		"protocol/pubsub/internal/journal.MaxBacklog":           "backlog of a subscription",
		"protocol/pubsub/internal/journal.MaxCredit":            "backlog of a subscription",
		"protocol/pubsub/internal/journal.MaxDeadLetterBytes":   "deliveries of a message",
		"protocol/pubsub/internal/journal.MaxDeadLetters":       "deliveries of a message",
		"protocol/pubsub/internal/journal.MaxDeliveries":        "deliveries of a message",
		"protocol/pubsub/internal/journal.MaxHistory":           "deliveries of a message",
		"protocol/pubsub/internal/journal.MaxKey":               "record of a message",
		"protocol/pubsub/internal/journal.MaxKeys":              "patterns, keys of a subscription",
		"protocol/pubsub/internal/journal.MaxKeysBytes":         "patterns, keys of a subscription",
		"protocol/pubsub/internal/journal.MaxMembers":           "patterns, keys of a subscription",
		"protocol/pubsub/internal/journal.MaxName":              "name of a group",
		"protocol/pubsub/internal/journal.MaxPairBytes":         "record of a message",
		"protocol/pubsub/internal/journal.MaxPairs":             "record of a message",
		"protocol/pubsub/internal/journal.MaxPatterns":          "patterns, keys of a subscription",
		"protocol/pubsub/internal/journal.MaxRanges":            "ranges of one ack",
		"protocol/pubsub/internal/journal.MaxSubscriptions":     "subscriptions of a node, of a service",
		"protocol/pubsub/internal/journal.MaxTopics":            "topics that have a number",
		"protocol/pubsub/internal/journal.MaxWindow":            "that wait for acks, of a subscription",
		"protocol/pubsub/internal/journal.MaxWindowBytes":       "that wait for acks, of a subscription",
		"protocol/pubsub/internal/journal.maxBackoffs":          "lease of a delivery",
		"protocol/pubsub/internal/journal.maxApart":             "gaps that have been told",
		"protocol/pubsub/internal/journal.maxCause":             "ranges of one ack",
		"protocol/pubsub/internal/journal.maxTold":              "gaps that have been told",
		"protocol/pubsub/internal/subject.MaxBytes":             "name of a topic",
		"protocol/pubsub/internal/subject.MaxTokens":            "name of a topic",
		"protocol/pipeline.maxStats":                            "queues, workers in `Stats`",
		"protocol/pipeline.maxTask":                             "a task with its key",
		"protocol/pipeline.defaultPriority":                     "key, tenant and `ID`",
		"protocol/pipeline.leastCredit":                         "credit of a worker",
		"protocol/pipeline.maxConcurrency":                      "handlers at a time",
		"protocol/pipeline.maxHeaderBytes":                      "key, tenant and `ID`",
		"protocol/pipeline.maxName":                             "key, tenant and `ID`",
		"protocol/pipeline.mostCredit":                          "credit of a worker",
		"protocol/pipeline/internal/frame.MaxBody":              "frame of records",
		"protocol/pipeline/internal/frame.MaxCause":             "a result; a cause",
		"protocol/pipeline/internal/frame.MaxList":              "frame of records",
		"protocol/pipeline/internal/frame.MaxPairs":             "key, tenant and `ID`",
		"protocol/pipeline/internal/frame.MaxResult":            "a result; a cause",
		"protocol/pipeline/internal/pool.DefaultCacheBytes":     "outcomes that a worker remembers, for",
		"protocol/pipeline/internal/pool.DefaultCacheTime":      "outcomes that a worker remembers, for",
		"protocol/pipeline/internal/pool.DefaultGrace":          "lease; grace",
		"protocol/pipeline/internal/pool.DefaultHeldBytes":      "tasks at a worker that have not begun",
		"protocol/pipeline/internal/pool.DefaultMaxRun":         "run of a handler",
		"protocol/pipeline/internal/pool.DefaultSlots":          "handlers at a time",
		"protocol/pipeline/internal/pool.MaxEcho":               "answers to what a producer",
		"protocol/pipeline/internal/pool.MaxPrefetch":           "tasks of one queue that a worker holds",
		"protocol/pipeline/internal/pool.MaxSources":            "queues at a worker, connected or for 2 min",
		"protocol/pipeline/internal/pool.MaxUnread":             "outcomes that wait for a producer",
		"protocol/pipeline/internal/pool.leastSources":          "`pipeline` queues",
		"protocol/pipeline/internal/queue.DefaultAttempts":      "attempts",
		"protocol/pipeline/internal/queue.DefaultDeadBytes":     "attempts",
		"protocol/pipeline/internal/queue.DefaultDeadLetters":   "attempts",
		"protocol/pipeline/internal/queue.DefaultDedupBytes":    "tasks with the same `ID`",
		"protocol/pipeline/internal/queue.DefaultDedupCount":    "tasks with the same `ID`",
		"protocol/pipeline/internal/queue.DefaultDedupTime":     "tasks with the same `ID`",
		"protocol/pipeline/internal/queue.DefaultGrace":         "lease; grace",
		"protocol/pipeline/internal/queue.DefaultLease":         "lease; grace",
		"protocol/pipeline/internal/queue.DefaultMaxBytes":      "tasks in a queue",
		"protocol/pipeline/internal/queue.DefaultMaxTasks":      "tasks in a queue",
		"protocol/pipeline/internal/queue.MaxDelay":             "delay that a handler",
		"protocol/pipeline/internal/queue.MaxPriority":          "key, tenant and `ID`",
		"protocol/pipeline/internal/queue.MaxReleases":          "times that a handler may give",
		"protocol/pipeline/internal/queue.MaxSending":           "time for which the parts of a task",
		"protocol/pipeline/internal/queue.MaxWindow":            "tasks of one queue that a worker holds",
		"protocol/pipeline/internal/queue.maxHistory":           "history of a task",
		"protocol/pipeline/internal/queue.maxReleasePause":      "times that a handler may give",
		"internal/wal.DefaultSegmentBytes":                      "segment of a durable queue",
	}
}

// inner maps each of the other constants to the reason why it has no row.
func inner() map[string]string {
	const (
		sum    = "a sum of others that have one"
		parser = "what a parser takes as well formed"
		pace   = "how work is cut up; nothing is refused or lost by it"
	)
	return map[string]string{
		"protocol/internal/flow.MinFrame":   pace,
		"protocol/internal/flow.leastParts": sum,
		"protocol/internal/varint.Max":      parser,
		// The row writes this constant as a power.
		"protocol/pubsub/internal/serve.maxDelay":          parser,
		"protocol/pubsub/internal/receive.maxRecords":      sum,
		"protocol/pubsub/internal/journal.DefaultPriority": "no bound",
		// The sum includes durable names.
		"protocol/pubsub/internal/journal.MaxSessions": sum,
		"protocol/pubsub/internal/journal.maxAttempt":  parser,
		"protocol/pubsub/internal/journal.maxFree":     pace,
		"protocol/pubsub/internal/journal.maxGapLen":   parser,
		"protocol/pubsub/internal/journal.maxMarkLen":  parser,
		"protocol/pubsub/internal/journal.maxMicros":   parser,
		"protocol/pubsub/internal/journal.maxRecord":   "the node's limit of messages is lower",
		"protocol/pipeline.maxTasks":                   sum,
		"protocol/pipeline/internal/frame.MaxTaskHead": parser,
		"protocol/pipeline/internal/frame.maxLeft":     parser,
		// This is a sum of outcomes, which have a row.
		"protocol/pipeline/internal/pool.MaxPages":     sum,
		"protocol/pipeline/internal/pool.MaxTask":      sum,
		"protocol/pipeline/internal/pool.maxShared":    pace,
		"protocol/pipeline/internal/pool.maxTrip":      pace,
		"protocol/pipeline/internal/queue.mostAdopted": parser,
		"internal/wal.DefaultGroupCommit":              "told in guarantees.md",
		"internal/wal.MaxSegmentBytes":                 "the pipeline has the default",
		"internal/wal.MinSegmentBytes":                 "the pipeline has the default",
	}
}

// bounding matches the names of constants that bound something.
var bounding = regexp.MustCompile(`^(?i:max|most|least|min|default)[A-Z0-9]|^[mM]ax$`)

// constants evaluates the constants that bound something, of all packages in and below the folders. It loads only imports of
// this module, except internal/transport, and packages time, math and unsafe, because no bound depends on any other.
func constants(t *testing.T, under ...string) map[string]constant.Value {
	t.Helper()
	l := &loader{t: t, fset: token.NewFileSet(), std: importer.Default(), known: make(map[string]*types.Package)}
	found := make(map[string]constant.Value)
	for _, dir := range under {
		err := filepath.WalkDir(filepath.Join(root, dir), func(name string, entry fs.DirEntry, err error) error {
			if err != nil || !entry.IsDir() {
				return err
			}
			rel, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			if entry.Name() == "testdata" || entry.Name() == "logtest" {
				return filepath.SkipDir
			}
			scope := l.load(rel).Scope()
			for _, name := range scope.Names() {
				if c, ok := scope.Lookup(name).(*types.Const); ok && bounding.MatchString(name) {
					found[rel+"."+name] = c.Val()
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

const modulePath = "github.com/linkmesh/link/"

type loader struct {
	t     *testing.T
	fset  *token.FileSet
	std   types.Importer
	known map[string]*types.Package
}

// Import implements types.Importer.
func (l *loader) Import(name string) (*types.Package, error) {
	if dir, ok := strings.CutPrefix(name, modulePath); ok && !strings.HasPrefix(dir, "internal/transport") {
		return l.load(dir), nil
	}
	if name == "time" || name == "math" || name == "unsafe" {
		return l.std.Import(name)
	}
	return nil, fmt.Errorf("%s is not needed", name)
}

func (l *loader) load(dir string) *types.Package {
	if p := l.known[dir]; p != nil {
		return p
	}
	files, err := filepath.Glob(filepath.Join(root, dir, "*.go"))
	if err != nil {
		l.t.Fatal(err)
	}
	var parsed []*ast.File
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(l.fset, name, nil, parser.SkipObjectResolution)
		if err != nil {
			l.t.Fatal(err)
		}
		parsed = append(parsed, file)
	}
	conf := types.Config{Importer: l, IgnoreFuncBodies: true, Error: func(error) {}}
	// Errors are about imports that are not loaded, and these constants do not depend on them.
	p, _ := conf.Check(modulePath+dir, l.fset, parsed, nil)
	l.known[dir] = p
	return p
}

// written returns the ways in which a row may write a value.
func written(v constant.Value) []string {
	n, ok := constant.Int64Val(constant.ToInt(v))
	if !ok {
		return nil
	}
	ways := []string{fmt.Sprint(n)}
	for _, unit := range []struct {
		name string
		size int64
	}{{"MiB", 1 << 20}, {"KiB", 1 << 10}, {"h", int64(time.Hour)}, {"min", int64(time.Minute)}, {"s", int64(time.Second)}, {"ms", int64(time.Millisecond)}} {
		if n >= unit.size && n%unit.size == 0 {
			ways = append(ways, fmt.Sprint(n/unit.size, " ", unit.name))
		}
	}
	return ways
}

// TestTheTablesOfLimitsHoldTheBoundsOfTheCode checks that each constant of the patterns and of internal/wal that bounds
// something has its value in a row of docs/design.md, or a reason in inner why it has none.
func TestTheTablesOfLimitsHoldTheBoundsOfTheCode(t *testing.T) {
	var table []string
	for line := range strings.Lines(read(t, "docs/design.md")) {
		if strings.HasPrefix(line, "|") {
			table = append(table, line)
		}
	}
	digits := regexp.MustCompile(`(\d)[ ,](\d{3})\b`)
	rows, inner := rows(), inner()
	found := constants(t, "protocol", "internal/wal")
	for _, name := range slices.Sorted(maps.Keys(found)) {
		value := found[name]
		key, ok := rows[name]
		if !ok {
			if _, ok := inner[name]; !ok {
				t.Errorf("%s = %s bounds something: give it a row in docs/design.md and in rows of this test, or say in inner why it needs none", name, value)
			}
			continue
		}
		held := slices.ContainsFunc(table, func(line string) bool {
			cells := strings.SplitN(line, "|", 3)
			if len(cells) < 3 || !strings.Contains(cells[1], key) {
				return false
			}
			plain := digits.ReplaceAllString(digits.ReplaceAllString(line, "$1$2"), "$1$2")
			return slices.ContainsFunc(written(value), func(way string) bool {
				return regexp.MustCompile(`(^|[^0-9.])` + regexp.QuoteMeta(way) + `($|[^0-9A-Za-z])`).MatchString(plain)
			})
		})
		if !held {
			t.Errorf("docs/design.md has no row with %q that says %s = %s (as one of %q)", key, name, value, written(value))
		}
	}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(rows)), slices.Collect(maps.Keys(inner))) {
		if _, ok := found[name]; !ok {
			t.Errorf("there is no constant %s any more", name)
		}
	}
}
