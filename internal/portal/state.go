package portal

import (
	"context"
	"encoding/json"
	"maps"
	"time"
)

// State is how deliveries to a portal fare, as the worker that sends to it sees it.
type State struct {
	// Down says that the last bulletin could not be delivered; single probes find out when the
	// portal is back.
	Down bool `json:"down"`
	// Since is when it went down, or came back.
	Since     time.Time `json:"since"`
	Failures  int       `json:"failures,omitempty"` // in a row
	Reason    string    `json:"reason,omitempty"`
	NextProbe time.Time `json:"next_probe,omitzero"`
	// Pause is how long before that the last failure was.
	Pause time.Duration `json:"pause,omitzero"`
	// Slow is zero for a portal whose answers are quick enough.
	Slow Slowness `json:"slow,omitzero"`
}

// Slowness is since when a portal's answers take long, and how long they took then, on the
// average.
type Slowness struct {
	Since  time.Time     `json:"since"`
	Answer time.Duration `json:"answer"`
}

const (
	// stateTimeout bounds one write of a state, and statePause is the time before it is tried
	// again.
	stateTimeout = 5 * time.Second
	statePause   = time.Second
	// stateLast bounds the writing of what is left when the registry is closed.
	stateLast = 2 * time.Second
)

// SetState notes the portal's state and returns at once. It is stored soon; of several that
// wait to be stored, only the newest is.
func (r *Registry) SetState(name string, s State) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	r.states[name] = s
	r.unsaved[name] = s
	if !r.saving {
		r.saving = true
		r.work.Go(r.saveStates)
	}
}

// States gives the states of all portals that ever failed or were slow, by name; whichever worker saw them.
func (r *Registry) States() map[string]State {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return maps.Clone(r.states)
}

// State gives the state of one portal; the zero State for one that never did
// either.
func (r *Registry) State(name string) State {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.states[name]
}

// saveStates writes the states that wait until there are none, or until the registry has been
// closed for a while.
func (r *Registry) saveStates() {
	for {
		name, s, ok := r.nextUnsaved()
		if !ok {
			return
		}
		if r.saveState(r.saveCtx, name, s) {
			continue
		}
		select {
		case <-r.saveCtx.Done():
			return
		case <-time.After(statePause):
		}
	}
}

func (r *Registry) nextUnsaved() (string, State, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name, s := range r.unsaved {
		return name, s, true
	}
	r.saving = false
	return "", State{}, false
}

func (r *Registry) saveState(ctx context.Context, name string, s State) bool {
	data, err := json.Marshal(s)
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, stateTimeout)
		defer cancel()
		_, err = r.kv.Put(ctx, statePrefix+name, data)
	}
	if err != nil {
		r.log.Warn().Err(err).Str("portal", name).Msg("state of delivery not stored, will be retried")
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.unsaved[name] == s {
		delete(r.unsaved, name)
	}
	return true
}

func (r *Registry) acceptState(name string, data []byte, revision uint64, gone bool) {
	var s State
	if !gone {
		if err := json.Unmarshal(data, &s); err != nil {
			r.log.Warn().Err(err).Str("portal", name).Msg("stored state of delivery is not one")
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if revision <= r.seen[statePrefix+name] {
		return
	}
	r.seen[statePrefix+name] = revision
	if _, newer := r.unsaved[name]; newer {
		return
	}
	if gone {
		delete(r.states, name)
		return
	}
	r.states[name] = s
}
