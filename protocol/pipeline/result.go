package pipeline

import (
	"github.com/linkmesh/link"
	"github.com/linkmesh/link/protocol/pipeline/internal/frame"
)

// isNone reports whether R is [None], for which nothing is encoded.
func isNone[R any]() bool {
	_, is := any((*R)(nil)).(*None)
	return is
}

// encodeResult encodes the result of a task. It returns nil if the stage has no results.
func encodeResult[R any](node *link.Node, r *R) ([]byte, error) {
	if isNone[R]() {
		return nil, nil
	}
	b, err := link.HostOf(node).Codec().Append(nil, r)
	if err == nil && len(b) > frame.MaxResult {
		err = link.Errorf(link.ResourceExhausted, "the result has %d bytes, the limit is %d", len(b), frame.MaxResult)
	}
	if err != nil {
		// Doing the task again would not help.
		return nil, Reject(err)
	}
	return b, nil
}

// resultOf decodes the result of a task that is done. A stage without results has the only value of [None].
func resultOf[R any](node *link.Node, e *entry) (R, error) {
	var r R
	if isNone[R]() {
		return r, nil
	}
	if err := link.HostOf(node).Codec().Decode(e.Result, &r); err != nil {
		return r, link.Errorf(link.Internal, "decoding the result of task %s into %T: %w", taskID(e.owner.id, e.Seq), r, err)
	}
	return r, nil
}
