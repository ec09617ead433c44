// Package portal knows the portals that bulletins are pushed to: how each is configured
// ([Portal], kept in a [Registry]), what it wants ([Filter]), how it is doing ([State]) and what
// it holds ([Receipts]).
//
//	bucket portals    config.<name>  ──watched live──▶ Registry ──▶ router: whom does this concern?
//	                  state.<name>   ◀── SetState             └──▶ bulletins: how is it reached?
//	stream RECEIPTS   loa.receipt.<portal>.<site>.<article>   ◀──▶ Receipts
//
// A change of a portal's configuration, by whatever process, reaches every running worker
// within moments.
package portal

import (
	"net/netip"
	"time"
)

// Portal is the configuration of one downstream site.
type Portal struct {
	// Name is permanent: flags and receipts carry it. 1 to 64 characters out of a-z, 0-9, "-".
	Name  string
	Title string // for people
	// URL is where bulletins are posted.
	URL    string
	Filter Filter
	// Secrets sign the bulletins, the newest first. There are two while one replaces the other.
	Secrets []Secret
	// InFlight is how many bulletins are sent at once; 4 when 0.
	InFlight int
	// Rate is the most bulletins a second; unlimited when 0.
	Rate float64
	// Timeout is for one bulletin, from dialling to the end of the answer; 15 s when 0.
	Timeout time.Duration
	// Allow lists addresses that may be dialled although they are private.
	Allow []netip.Prefix
	// Headers are sent with every bulletin. Their values are often credentials.
	Headers map[string]Secret
	// Paused is set while nothing is to be sent; what is due meanwhile waits.
	Paused *Pause

	Created time.Time
	Changed Change

	// Revision is that of the stored entry; 0 for a portal that is not stored. A write succeeds
	// only over the revision that was read.
	Revision uint64
}

// Pause says since when, why and by whom a portal is paused.
type Pause struct {
	By    string    `json:"by"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
}

// Change says who changed something last.
type Change struct {
	By string    `json:"by"`
	At time.Time `json:"at"`
}

const (
	// inFlightDefault keeps a portal that answers in 100 ms at 40 bulletins a second, which is
	// no burden to a small site.
	inFlightDefault = 4
	// timeoutDefault is what receivers of webhooks commonly have to answer within.
	timeoutDefault = 15 * time.Second
	// MaxInFlight bounds what one portal takes of a worker.
	MaxInFlight = 64
	// MaxTimeout bounds how long a portal that hangs holds up a worker.
	MaxTimeout = time.Minute
)

func (p Portal) withDefaults() Portal {
	if p.InFlight == 0 {
		p.InFlight = inFlightDefault
	}
	if p.Timeout == 0 {
		p.Timeout = timeoutDefault
	}
	return p
}

// Interval is the shortest time between two bulletins, by Rate.
func (p Portal) Interval() time.Duration {
	if p.Rate <= 0 {
		return 0
	}
	return time.Duration(float64(time.Second) / p.Rate)
}
