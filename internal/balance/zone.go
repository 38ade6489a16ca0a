package balance

// localShare is the share of its picks that a client keeps in its own zone, where
// local of the total members are, of zones zones. One whose zone holds its part or
// more keeps all; below that, the zone gets what its size calls for if each zone
// has as many clients: local/total of all calls, from 1/zones of the clients.
func localShare(local, total, zones int) float64 {
	return min(1, float64(local)*float64(zones)/float64(total))
}

// stays reports whether the pick with r keeps to the own zone, out of whose local
// members out are not available. The others take over their load as far as they
// can bear [ZoneSpare] of their own.
func stays(share float64, local, out int, r uint64) bool {
	if out > 0 && local > 0 {
		share *= min(1, ZoneSpare*float64(local-out)/float64(local))
	}
	return float64(mix(r)>>32) < share*(1<<32)
}
