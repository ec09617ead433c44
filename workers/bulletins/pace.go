package bulletins

import (
	"sync"
	"time"

	"github.com/loa-syndication/loa/internal/portal"
	"github.com/loa-syndication/loa/internal/reconcile"
)

const (
	// slowAbove is the average time to an answer from which on a portal is called slow, and
	// quickBelow that from which on it no longer is; what lies between changes nothing, or one
	// about the limit would be noted again and again. At 2 s a portal that takes the ordinary
	// four at once gets two articles a second: an hour's outage of a city takes minutes.
	slowAbove, quickBelow = 2 * time.Second, time.Second
	// paceOf is over how many answers is averaged, about; paceFewest is from how many on it is
	// judged by.
	paceOf, paceFewest = 8, 3
)

// pace is how quickly a portal answers.
type pace struct {
	mean    time.Duration
	answers int
	slow    portal.Slowness // as it is noted
}

// add counts an answer, and reports whether that changes what is to be noted.
func (p *pace) add(took time.Duration, now time.Time) bool {
	p.answers++
	p.mean += (took - p.mean) / time.Duration(min(p.answers, paceOf))
	slow := !p.slow.Since.IsZero()
	switch {
	case p.answers < paceFewest:
		return false
	case !slow && p.mean > slowAbove:
		p.slow = portal.Slowness{Since: now.UTC(), Answer: p.mean}
	case slow && p.mean < quickBelow:
		p.slow = portal.Slowness{}
	default:
		return false
	}
	return true
}

// paces are those of the portals that this worker sends to. Their lock is held while a state is
// noted, since it is made of two things: whether the portal is down, and whether it is slow.
type paces struct {
	mu sync.Mutex
	of map[string]*pace
}

// get gives a portal's; what another worker noted of it stands until this one knows better.
func (ps *paces) get(name string, portals *portal.Registry) *pace {
	p := ps.of[name]
	if p == nil {
		p = &pace{slow: portals.State(name).Slow}
		ps.of[name] = p
	}
	return p
}

func (ps *paces) forget(name string) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	delete(ps.of, name)
}

// answered notes it when the portal's answers became slow, or quick again.
func (w *Worker) answered(name string, took time.Duration) {
	w.paces.mu.Lock()
	defer w.paces.mu.Unlock()
	p := w.paces.get(name, w.opts.Portals)
	if !p.add(took, time.Now()) {
		return
	}
	s := w.opts.Portals.State(name)
	s.Slow = p.slow
	w.opts.Portals.SetState(name, s)
	w.log.Info().Str("portal", name).Bool("slow", !p.slow.Since.IsZero()).Dur("mean", p.mean).Msg("portal's answers changed their pace")
}

// OnState notes in the registry how a portal fares, for [reconcile.Options].
func (w *Worker) OnState(name string, s reconcile.State) {
	w.paces.mu.Lock()
	defer w.paces.mu.Unlock()
	w.opts.Portals.SetState(name, portal.State{
		Down: s.Down, Since: s.Since, Failures: s.Failures, Reason: s.Reason, NextProbe: s.NextProbe, Pause: s.Pause,
		Slow: w.paces.get(name, w.opts.Portals).slow,
	})
}
