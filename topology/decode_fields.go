package topology

import "go.yaml.in/yaml/v3"

func (d *decoder) document(path string, n *yaml.Node) *Document {
	doc := &Document{}
	d.fields(path, n,
		field{"version", into(&doc.Version, d.text)},
		field{"services", into(&doc.Services, named(d, "names of services", d.service))},
		field{"defaults", into(&doc.Defaults, d.defaults)},
	)
	if _, ok := d.source.at["version"]; !ok && n.Kind == yaml.MappingNode {
		d.at(position{n.Line, n.Column}, "version", "is missing; write %q at the top", "version: "+currentVersion)
	}
	return doc
}

func (d *decoder) defaults(path string, n *yaml.Node) (v Defaults) {
	d.fields(path, n,
		field{"timeout", into(&v.Timeout, said(d, "", d.duration))},
		field{"retry", into(&v.Retry, d.retry)},
		field{"zone_aware", into(&v.ZoneAware, d.toggle)},
	)
	return v
}

func (d *decoder) service(path string, n *yaml.Node) (v Service) {
	d.fields(path, n,
		field{"subsets", into(&v.Subsets, named(d, "names of subsets", d.subset))},
		field{"routes", into(&v.Routes, listOf(d, "routes", d.route))},
		field{"failover", into(&v.Failover, d.texts)},
		field{"timeout", into(&v.Timeout, said(d, "", d.duration))},
		field{"retry", into(&v.Retry, d.retry)},
		field{"lb", into(&v.LB, d.loadBalancing)},
		field{"outlier", into(&v.Outlier, d.outlier)},
		field{"mirror", into(&v.Mirror, d.mirror)},
		field{"fault", into(&v.Fault, d.fault)},
	)
	return v
}

func (d *decoder) subset(path string, n *yaml.Node) (v Subset) {
	d.fields(path, n,
		field{"tags", into(&v.Tags, d.texts)},
		field{"meta", into(&v.Meta, d.pairs)},
	)
	return v
}

func (d *decoder) route(path string, n *yaml.Node) (v Route) {
	d.fields(path, n,
		field{"match", into(&v.Match, d.match)},
		field{"to", into(&v.To, d.split)},
		field{"sticky", into(&v.Sticky, d.text)},
		field{"timeout", into(&v.Timeout, said(d, "", d.duration))},
		field{"retry", into(&v.Retry, d.retry)},
		field{"failover", into(&v.Failover, d.texts)},
	)
	return v
}

func (d *decoder) match(path string, n *yaml.Node) (v Match) {
	d.fields(path, n,
		field{"method", into(&v.Method, d.pattern)},
		field{"topic", into(&v.Topic, d.pattern)},
		field{"stage", into(&v.Stage, d.pattern)},
		field{"caller", into(&v.Caller, d.callers)},
		field{"meta", into(&v.Meta, d.pairs)},
	)
	return v
}

func (d *decoder) pattern(path string, n *yaml.Node) string {
	v := d.text(path, n)
	if v == "" && n.Kind == yaml.ScalarNode {
		d.invalid(path, `is empty; write "*" for all`)
	}
	return v
}

// callers reads one service or a list of services.
func (d *decoder) callers(path string, n *yaml.Node) []string {
	if n.Kind == yaml.ScalarNode {
		return []string{n.Value}
	}
	list := listOf(d, "services", d.text)(path, n)
	if len(list) == 0 && n.Kind == yaml.SequenceNode {
		d.invalid(path, "names no service; remove it to match every caller")
	}
	return list
}

// split reads a target or a mapping of targets to shares.
func (d *decoder) split(path string, n *yaml.Node) Split {
	switch n.Kind { //nolint:exhaustive // the others are refused below
	case yaml.ScalarNode:
		return Split{n.Value: whole}
	case yaml.MappingNode:
		split := Split(named(d, "targets and their shares", d.integer)(path, n))
		if len(split) == 0 {
			d.invalid(path, "names no target; remove it to send calls to any instance")
		}
		return split
	}
	d.invalid(path, "is %s, want a target or a mapping of targets to shares", shown(n))
	return nil
}

func (d *decoder) retry(path string, n *yaml.Node) (v Retry) {
	d.fields(path, n,
		field{"attempts", into(&v.Attempts, said(d, "; 1 means no retries", d.integer))},
		field{"budget", into(&v.Budget, said(d, "; attempts: 1 switches retries off", d.percent))},
		field{"on", into(&v.On, d.texts)},
	)
	return v
}

func (d *decoder) loadBalancing(path string, n *yaml.Node) (v LoadBalancing) {
	d.fields(path, n,
		field{"policy", func(path string, n *yaml.Node) { v.Policy = LBPolicy(d.text(path, n)) }},
		field{"key", into(&v.Key, d.text)},
		field{"zone_aware", into(&v.ZoneAware, d.toggle)},
		field{"panic", into(&v.Panic, orOff(d.percent))},
		field{"slow_start", into(&v.SlowStart, orOff(d.duration))},
		field{"subset", into(&v.Subset, orOff(d.integer))},
	)
	return v
}

func (d *decoder) outlier(path string, n *yaml.Node) *Outlier {
	v := &Outlier{}
	d.fields(path, n,
		field{"errors", into(&v.Errors, said(d, "; max: 0% switches ejection off", d.integer))},
		field{"interval", into(&v.Interval, said(d, "", d.duration))},
		field{"eject", into(&v.Eject, said(d, "; max: 0% switches ejection off", d.duration))},
		field{"max", into(&v.Max, orOff(d.percent))},
	)
	return v
}

func (d *decoder) mirror(path string, n *yaml.Node) *Mirror {
	v := &Mirror{}
	d.fields(path, n,
		field{"to", into(&v.To, d.split)},
		field{"percent", into(&v.Percent, said(d, "; remove the mirror to switch it off", d.percent))},
	)
	return v
}

func (d *decoder) fault(path string, n *yaml.Node) *Fault {
	v := &Fault{}
	d.fields(path, n,
		field{"delay", into(&v.Delay, said(d, "", d.duration))},
		field{"abort", into(&v.Abort, d.text)},
		field{"percent", into(&v.Percent, said(d, "; remove the fault to switch it off", d.percent))},
	)
	return v
}
