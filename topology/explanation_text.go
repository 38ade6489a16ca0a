package topology

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/linkmesh/link/internal/policy/errtext"
	"github.com/linkmesh/link/internal/policy/reach"
)

// maxPrinted bounds the instances of a service that String lists, maxPassed the routes that did not match.
const (
	maxPrinted = 100
	maxPassed  = 8
)

// printer is an Explanation that is being printed.
type printer Explanation

// String returns the explanation as several lines with aligned columns. The format may change;
// programs should read the fields.
func (x Explanation) String() string {
	e := (*printer)(&x)
	var b strings.Builder
	e.writeHead(&b)
	e.writeRule(&b)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	e.writeLevels(w)
	for i := 0; i < len(e.Instances); {
		j := i
		for j < len(e.Instances) && e.Instances[j].Service == e.Instances[i].Service {
			j++
		}
		e.writeInstances(w, e.Instances[i:j])
		i = j
	}
	// Writing to a strings.Builder cannot fail.
	_ = w.Flush()
	return b.String()
}

func (e *printer) writeHead(b *strings.Builder) {
	if e.Name != "" {
		fmt.Fprintf(b, "%s %s/%s", safe(cmp.Or(e.Kind, "route")), safe(e.Service), safe(e.Name))
	} else {
		fmt.Fprintf(b, "any call to %s", safe(e.Service))
	}
	if e.Caller.Service != "" {
		fmt.Fprintf(b, " from %s", safe(e.Caller.Service))
	}
	var place []string
	for _, p := range []struct{ what, name string }{
		{reach.Zone, e.Caller.Zone}, {reach.Region, e.Caller.Region}, {reach.Datacenter, e.Caller.Datacenter},
	} {
		if p.name != "" {
			place = append(place, p.what+" "+safe(p.name))
		}
	}
	if len(place) > 0 {
		fmt.Fprintf(b, " (%s)", strings.Join(place, ", "))
	}
	b.WriteByte('\n')
}

func (e *printer) writeRule(b *strings.Builder) {
	switch {
	case e.Rule >= 0:
		fmt.Fprintf(b, "routes[%d]: ", e.Rule)
	case len(e.Passed) > 0:
		b.WriteString("no route matches: ")
	case e.Written:
		b.WriteString("no routes: ")
	default:
		b.WriteString("no policy: ")
	}
	if e.Asked {
		b.WriteString("to " + e.choice() + "\n")
	} else {
		fmt.Fprintf(b, "%s; the topology chooses none\n", safe(e.Fixed))
	}
	var passed []string
	for i, why := range e.Passed {
		if i == maxPassed {
			passed = append(passed, fmt.Sprintf("and %d more", len(e.Passed)-i))
			break
		}
		passed = append(passed, fmt.Sprintf("routes[%d] %s", i, why))
	}
	if len(passed) > 0 {
		fmt.Fprintf(b, "  (%s)\n", strings.Join(passed, "; "))
	}
	if s := e.settings(); s != "" {
		fmt.Fprintf(b, "calls: %s\n", s)
	}
}

// choice lists the targets of the rule, what decided between them, and the chosen one.
func (e *printer) choice() string {
	if len(e.Shares) == 1 {
		return e.Target
	}
	// The greatest share comes first.
	targets := slices.SortedFunc(maps.Keys(e.Shares), func(a, b string) int {
		return cmp.Or(cmp.Compare(e.Shares[b], e.Shares[a]), cmp.Compare(a, b))
	})
	shares := make([]string, len(targets))
	for i, target := range targets {
		shares[i] = fmt.Sprintf("%s %d%%", target, e.Shares[target])
	}
	text := strings.Join(shares, ", ")
	switch {
	case e.Fixed != "":
		text += "; " + e.Fixed
	case e.Key != "":
		text += "; sticky " + e.Sticky + " " + errtext.Quote(e.Key)
	case e.Sticky != "":
		text += "; the call lacks " + e.Sticky + ", so chance"
	default:
		text += "; chance"
	}
	return text + " -> " + e.Target
}

// settings lists the settings of the call: timeout, retries, mirror and fault.
func (e *printer) settings() string {
	var list []string
	if e.Timeout > 0 {
		list = append(list, "timeout "+short(e.Timeout))
	}
	switch {
	case e.Retry.Attempts == 1:
		list = append(list, "no retries")
	case e.Retry.Attempts > 1:
		list = append(list, fmt.Sprintf("up to %d attempts", e.Retry.Attempts))
	}
	if e.Mirror != nil {
		list = append(list, fmt.Sprintf("%v mirrored to %s", e.Mirror.Percent, e.Mirror.To))
	}
	if f := e.Fault; f != nil {
		var how []string
		if f.Delay > 0 {
			how = append(how, short(f.Delay)+" late")
		}
		if f.Abort != "" {
			how = append(how, f.Abort)
		}
		list = append(list, f.Percent.String()+" broken on purpose ("+strings.Join(how, ", ")+")")
	}
	return strings.Join(list, ", ")
}

// String returns "canary 5%, stable 95%", or the name of a single target alone.
func (s Split) String() string {
	if len(s) == 0 {
		return reach.Any
	}
	var list []string
	for target, share := range s {
		list = append(list, fmt.Sprintf("%s %d%%", target, share))
		if len(s) == 1 {
			return target
		}
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func (e *printer) writeLevels(w *tabwriter.Writer) {
	fmt.Fprintln(w, "levels:")
	for i := range e.Levels {
		l := &e.Levels[i]
		fmt.Fprintf(w, "  %d\t%s\t%d of %d available", i+1, e.place(l), l.Available, l.Total)
		how := l.How
		if l.Via != "" {
			how += ", " + l.Via
		}
		switch {
		case l.Takes >= 1:
			fmt.Fprintf(w, "\t<- picked here (%s)", how)
		case l.Takes > 0:
			fmt.Fprintf(w, "\t<- %v of the calls (%s)", Percent(math.Round(l.Takes*1000)/10), how)
		}
		fmt.Fprintln(w)
	}
	if !slices.ContainsFunc(e.Levels, func(l ExplainedLevel) bool { return l.Takes > 0 }) {
		fmt.Fprintln(w, "  nobody: no level has an available instance")
	}
}

// place names a level: "stable in zone eu-1a".
func (e *printer) place(l *ExplainedLevel) string {
	text := "every instance"
	if l.Subset != "" {
		text = l.Subset
	}
	if l.Service != e.Service {
		text = l.Service + ": " + text
	}
	var what, name string
	switch l.Scope {
	case reach.Zone:
		what, name = "zone", e.Caller.Zone
	case reach.Region:
		what, name = "region", e.Caller.Region
	case reach.Datacenter:
		what, name = "datacenter", e.Caller.Datacenter
	default:
		return text
	}
	if name == "" {
		return text + " in the caller's " + what + ", which is not known"
	}
	return text + " in " + what + " " + safe(name)
}

func (e *printer) writeInstances(w *tabwriter.Writer, list []ExplainedInstance) {
	if service := list[0].Service; service == e.Service {
		fmt.Fprintln(w, "instances:")
	} else {
		fmt.Fprintf(w, "instances of %s:\n", safe(service))
	}
	weighted := slices.ContainsFunc(list, func(in ExplainedInstance) bool { return in.Weight != list[0].Weight })
	for i := range list {
		in := &list[i]
		if i == maxPrinted {
			fmt.Fprintf(w, "  and %d more\n", len(list)-i)
			break
		}
		answer := "no"
		if in.Chosen {
			answer = "yes"
		}
		fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\n", safe(in.ID), safe(in.Addr), in.marks(weighted), answer, safe(in.Reason))
	}
}

// marks lists tags, zone and weight, each once.
func (in *ExplainedInstance) marks(weighted bool) string {
	marks := sortedSet(in.Tags)
	add := func(key, value string) {
		if mark := key + "=" + value; value != "" && !slices.Contains(marks, mark) {
			marks = append(marks, mark)
		}
	}
	add("zone", in.Zone)
	if weighted && in.Weight != 0 {
		add("weight", strconv.Itoa(in.Weight))
	}
	if len(marks) == 0 {
		return "-"
	}
	return safe(strings.Join(marks, " "))
}

// safe replaces unprintable characters, so that text from registries and callers cannot control the terminal.
func safe(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, s)
}

// short prints a duration without the trailing zeros of Duration.String: "1m" for 1m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
