package consul

// Datacenter implements discovery.Placer: it returns the agent's own datacenter, or "" until the
// agent has named it.
func (r *Registry) Datacenter() string {
	if dc := r.datacenter.Load(); dc != nil {
		return *dc
	}
	return ""
}
