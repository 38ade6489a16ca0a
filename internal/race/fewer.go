package race

// Fewer returns all without the race detector and few with it. A test with many
// cases of one kind runs all of them without the detector, in which they cost a
// tenth, and with it as many as show each goroutine at work.
func Fewer[T any](all, few T) T {
	if Enabled {
		return few
	}
	return all
}
