package balance

// lighter reports whether the load of a is less than that of b.
func lighter(a, b slot, now int64) bool {
	loadA := float64(a.load.inflight.Load()+1) * a.perWeight
	loadB := float64(b.load.inflight.Load()+1) * b.perWeight
	return faster(a.load, b.load, loadA, loadB, now)
}

// lighterScaled is like lighter, but divides the calls in flight by the shares that slow
// start grants.
func lighterScaled(a, b slot, shareA, shareB float64, now int64) bool {
	loadA := (float64(a.load.inflight.Load())/shareA + 1) * a.perWeight
	loadB := (float64(b.load.inflight.Load())/shareB + 1) * b.perWeight
	return faster(a.load, b.load, loadA, loadB, now)
}

// faster reports whether loadA is less than loadB, both times their latencies. It leaves
// out the latencies if one is unknown or both count as equal.
func faster(a, b *load, loadA, loadB float64, now int64) bool {
	toleranceA, toleranceB := a.tolerance(), b.tolerance()
	if toleranceA == 0 || toleranceB == 0 {
		return loadA < loadB
	}
	tolerance := max(toleranceA, toleranceB)
	latencyA, latencyB := a.estimate(now), b.estimate(now)
	if latencyA > latencyB*tolerance || latencyB > latencyA*tolerance {
		return loadA*latencyA < loadB*latencyB
	}
	return loadA < loadB
}
