package topology

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// maxPrinted bounds the instances of a service that String lists, maxPassed the routes that did not match.
const (
	maxPrinted = 100
	maxPassed  = 8
)

// String returns the explanation as several lines with aligned columns. The format may change;
// programs should read the fields.
func (x Explanation) String() string {
	e := (*explainer)(&x)
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

func (e *explainer) writeHead(b *strings.Builder) {
	r := e.Request
	if r.Name != "" {
		fmt.Fprintf(b, "%s %s/%s", safe(cmp.Or(r.Kind, "route")), safe(e.Service), safe(r.Name))
	} else {
		fmt.Fprintf(b, "any call to %s", safe(e.Service))
	}
	if r.Caller != "" {
		fmt.Fprintf(b, " from %s", safe(r.Caller))
	}
	var place []string
	for _, p := range []struct{ what, name string }{{"zone", e.At.Zone}, {"region", e.At.Region}, {"dc", e.At.Datacenter}} {
		if p.name != "" {
			place = append(place, p.what+" "+safe(p.name))
		}
	}
	if len(place) > 0 {
		fmt.Fprintf(b, " (%s)", strings.Join(place, ", "))
	}
	b.WriteByte('\n')
}

func (e *explainer) writeRule(b *strings.Builder) {
	switch {
	case e.Plan == nil:
		fmt.Fprintf(b, "the topology is not asked: %s\n", e.Fixed)
		return
	case e.Rule != NoRule:
		fmt.Fprintf(b, "routes[%d]: ", e.Rule)
	case len(e.Passed) > 0:
		b.WriteString("no route matches: ")
	case e.Written:
		b.WriteString("no routes: ")
	default:
		b.WriteString("no policy: ")
	}
	b.WriteString("to " + e.choice() + "\n")
	var passed []string
	for i, p := range e.Passed {
		if i == maxPassed {
			passed = append(passed, fmt.Sprintf("and %d more", len(e.Passed)-i))
			break
		}
		passed = append(passed, fmt.Sprintf("routes[%d] %s", p.Rule, p.Why))
	}
	if len(passed) > 0 {
		fmt.Fprintf(b, "  (%s)\n", strings.Join(passed, "; "))
	}
	if s := e.Plan.settings(); s != "" {
		fmt.Fprintf(b, "calls: %s\n", s)
	}
}

// choice lists the targets of the rule, what decided between them, and the chosen one.
func (e *explainer) choice() string {
	if len(e.Shares) == 1 {
		return e.Target
	}
	shares := make([]string, len(e.Shares))
	for i, s := range e.Shares {
		shares[i] = fmt.Sprintf("%s %d%%", s.Target, s.Share)
	}
	text := strings.Join(shares, ", ")
	switch {
	case e.Fixed != "":
		text += "; " + e.Fixed
	case e.Key != "":
		text += "; sticky " + e.Sticky + " " + clipped(e.Key)
	case e.Sticky != "":
		text += "; the call lacks " + e.Sticky + ", so chance"
	default:
		text += "; chance"
	}
	return text + " -> " + e.Target
}

// settings lists the settings of the plan: timeout, retries, mirror and fault.
func (p *Plan) settings() string {
	var list []string
	if p == nil {
		return ""
	}
	if p.Timeout > 0 {
		list = append(list, "timeout "+short(p.Timeout))
	}
	switch {
	case p.Retry.Attempts == 1:
		list = append(list, "no retries")
	case p.Retry.Attempts > 1:
		list = append(list, fmt.Sprintf("up to %d attempts", p.Retry.Attempts))
	}
	if p.Mirror != nil {
		list = append(list, fmt.Sprintf("%v mirrored to %s", p.Mirror.Percent, p.Mirror.To))
	}
	if f := p.Fault; f != nil {
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
		return wordAny
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

func (e *explainer) writeLevels(w *tabwriter.Writer) {
	fmt.Fprintln(w, "levels:")
	for i := range e.Levels {
		l := &e.Levels[i]
		fmt.Fprintf(w, "  %d\t%s\t%d of %d available", i+1, e.place(l), l.Available, l.Total)
		how := l.how(&e.Request)
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
	if e.last() == 0 {
		fmt.Fprintln(w, "  nobody: no level has an available instance")
	}
}

// place names a level: "stable in zone eu-1a".
func (e *explainer) place(l *ExplainedLevel) string {
	text := "every instance"
	if l.Subset != nil {
		text = l.Subset.Name
	}
	if l.Service != e.Service {
		text = l.Service + ": " + text
	}
	what, name := "", ""
	switch l.Scope {
	case Anywhere:
		return text
	case SameZone:
		what, name = "zone", e.At.Zone
	case SameRegion:
		what, name = "region", e.At.Region
	case SameDatacenter:
		what, name = "datacenter", e.At.Datacenter
	}
	if name == "" {
		return text + " in the caller's " + what + ", which is not known"
	}
	return text + " in " + what + " " + safe(name)
}

// how says how an instance of the level is chosen for a call.
func (l *ExplainedLevel) how(r *Request) string {
	keyed := Plan{LB: l.LB, hashKey: strings.TrimPrefix(l.LB.Key, prefixMeta)}
	if _, ok := keyed.KeyOf(r); ok {
		return "by the hash of its key"
	}
	if l.LB.Policy == Hash {
		return "no key, so " + string(P2C)
	}
	return string(l.LB.Policy)
}

func (e *explainer) writeInstances(w *tabwriter.Writer, list []ExplainedInstance) {
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
func (c *Candidate) marks(weighted bool) string {
	marks := sortedSet(c.Tags)
	add := func(key, value string) {
		if mark := key + "=" + value; value != "" && !slices.Contains(marks, mark) {
			marks = append(marks, mark)
		}
	}
	add("zone", c.Zone)
	if weighted && c.Weight != 0 {
		add("weight", strconv.Itoa(c.Weight))
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
