package consul

// Datacenter implements discovery.Placer: it returns the agent's own datacenter, "" until the agent
// has answered for the first time.
func (r *Registry) Datacenter() string {
	if dc := r.datacenter.Load(); dc != nil {
		return *dc
	}
	return ""
}
