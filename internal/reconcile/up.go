package reconcile

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/internal/streams"
)

// Pair is a target with a key that it may be behind on.
type Pair struct{ Target, Key string }

const (
	// upAtOnce is how many pairs one question names, each with both classes, alone and shared: the
	// server answers with 1,024 messages at most.
	upAtOnce = 250
	// upTimeout bounds one question.
	upTimeout = 10 * time.Second
)

// Up gives the flags that are up of those that the pairs of a kind may have; of two classes, the
// express one. It asks the stream, in few exchanges, so it sees those of all workers.
func Up(ctx context.Context, js jetstream.JetStream, kind string, pairs []Pair) (map[Pair]Flag, error) {
	up := map[Pair]Flag{}
	for part := range slices.Chunk(pairs, upAtOnce) {
		// The server overlooks a flag that is replaced by a newer one while it answers.
		for range 2 {
			if err := askUp(ctx, js, kind, part, up); err != nil {
				return nil, fmt.Errorf("look up which of %d flags of kind %s are up: %w", len(part), kind, err)
			}
			down := make([]Pair, 0, len(part))
			for _, p := range part {
				if _, ok := up[p]; !ok {
					down = append(down, p)
				}
			}
			if part = down; len(part) == 0 {
				break
			}
		}
	}
	return up, nil
}

func askUp(ctx context.Context, js jetstream.JetStream, kind string, part []Pair, up map[Pair]Flag) error {
	ctx, cancel := context.WithTimeout(ctx, upTimeout)
	defer cancel()
	var flags []storedFlag
	shared := map[Pair][]string{} // the targets that may share a flag
	ask := func(p Pair) {
		for _, class := range classes {
			flags = append(flags, storedFlag{Flag: Flag{Class: class, Kind: kind, Target: p.Target, Key: p.Key}})
		}
	}
	for _, p := range part {
		ask(p)
		if !streams.SharesFlags(kind) {
			continue
		}
		all := Pair{streams.SharedTarget(kind, streams.FlagGroup(kind, p.Target)), p.Key}
		if shared[all] == nil {
			ask(all)
		}
		shared[all] = append(shared[all], p.Target)
	}
	found, err := readUp(ctx, js, flags)
	if err != nil {
		return err
	}
	for _, stored := range found {
		f := stored.Flag
		targets := []string{f.Target}
		if sharing := shared[Pair{f.Target, f.Key}]; sharing != nil {
			targets = slices.DeleteFunc(slices.Clone(sharing), func(t string) bool { return !slices.Contains(f.Targets, t) })
			f.Targets = nil
		}
		for _, t := range targets {
			f.Target = t
			if have, ok := up[Pair{t, f.Key}]; !ok || have.Class == streams.Normal {
				up[Pair{t, f.Key}] = f
			}
		}
	}
	return nil
}
