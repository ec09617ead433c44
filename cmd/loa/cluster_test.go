package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/loatest/cluster"
	"github.com/loa-syndication/loa/internal/loatest/faultproxy"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/bulletins"
)

var hang = flag.Duration("hang", 0, "for how long a worker hangs at least, beyond the end of its lease")

// fleet is a city whose Loa is several processes on a cluster: one for everything else, and
// workers for the portals.
type fleet struct {
	*city
	cluster *cluster.Cluster
	js      jetstream.JetStream
	args    []string // of each process, but for its roles, its directory and its NATS
	workers int      // started so far
}

// member is one of the workers.
type member struct {
	*process
	link *faultproxy.Link // its way to NATS, if there is no other
}

func newFleet(t *testing.T, partners ...*partner) *fleet {
	t.Helper()
	f := &fleet{city: newCity(t, partners...), cluster: cluster.Start(t)}
	s3, _ := externalS3(t, f.city)
	f.js = f.cluster.JetStream(t)
	password := filepath.Join(f.dir, "nats.password")
	if err := os.WriteFile(password, []byte(f.cluster.Users.Loa.Secret.Reveal()), 0o600); err != nil {
		t.Fatal(err)
	}
	f.secrets = append(f.secrets, f.cluster.Users.Loa.Secret.Reveal())
	f.args = []string{"--nats-replicas", fmt.Sprint(cluster.Size), "--nats-user", f.cluster.Users.Loa.Name, "--nats-password-file", password, "--s3", s3.url}
	f.start("intake,feeds,hub,gateway", f.cluster.URL())
	return f
}

func (f *fleet) start(roles, url string) *process {
	f.t.Helper()
	f.workers++
	f.serve(append(slices.Clone(f.args), "--roles", roles, "--nats", url, "--data", filepath.Join(f.dir, fmt.Sprint("process-", f.workers)))...)
	return f.loa
}

// join starts a worker that knows all nodes.
func (f *fleet) join() member {
	f.t.Helper()
	return member{process: f.start("bulletins", f.cluster.URL())}
}

// joinByLink starts a worker whose way to NATS ends at one node, through a link.
func (f *fleet) joinByLink() member {
	f.t.Helper()
	node := f.cluster.Nodes[f.workers%len(f.cluster.Nodes)]
	link := faultproxy.StartLink(f.t, node.Addr)
	return member{f.start("bulletins", "nats://"+link.Addr), link}
}

// shares are how many groups of the portals' flags each worker has, as they say of themselves.
func (f *fleet) shares() (shares []int, free int) {
	var roster struct {
		Workers map[string]any
		Owners  []string
	}
	data, _, err := streams.LatestValue(f.t.Context(), f.js, streams.WorkersBucket, bulletins.Kind)
	if err != nil || json.Unmarshal(data, &roster) != nil {
		return nil, 0
	}
	owned := map[string]int{}
	for _, owner := range roster.Owners {
		if owner == "" {
			free++
			continue
		}
		owned[owner]++
	}
	for id := range roster.Workers {
		shares = append(shares, owned[id])
	}
	slices.Sort(shares)
	return shares, free
}

// shared waits until that many workers have even shares of everything.
func (f *fleet) shared(workers int, after string) {
	f.t.Helper()
	began := time.Now()
	for {
		shares, free := f.shares()
		if len(shares) == workers && free == 0 && shares[workers-1]-shares[0] <= 1 {
			f.t.Logf("%s: %v after %.1f s", after, shares, time.Since(began).Seconds())
			return
		}
		if time.Since(began) > patience {
			f.t.Fatalf("%s: the shares are %v, %d free, after %s; want %d even ones", after, shares, free, patience, workers)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// A CMS publishes to a cluster of three, of which the leader is killed, and three workers push to
// the portals, of which one is killed, one hangs and goes on as if nothing had been, one is cut
// off, one is stopped, and others join. What the CMS and the portals wrote down decides.
func TestWorkersOnAClusterSurviveWhateverFails(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for elections, and for workers to be given up")
	}
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	partners := somePartners()
	for i := range 24 { // so many that every worker has some, and some share flags
		partners = append(partners, &partner{name: fmt.Sprint("phuong-", i)})
	}
	f := newFleet(t, partners...)
	a, b, c := f.join(), f.join(), f.joinByLink()
	f.shared(3, "three joined")

	said, stop, published := newLedger(), make(chan struct{}), make(chan struct{})
	var ended time.Time // of the CMS's story
	cms := f.cluster.CMS(t)
	go func() { // goes on for as long as something fails
		defer close(published)
		all := story(rng, 200, f.pictures)
		for len(all) > 0 {
			n := min(len(all), 10)
			publish(t, cms, all[:n], 0, said)
			all = all[n:]
			select {
			case <-stop: // say the rest at once
			case <-time.After(time.Second):
			}
		}
		ended = time.Now()
	}()

	a.Kill()
	f.shared(2, "one was killed")
	d := f.joinByLink()
	f.shared(3, "one joined")
	b.Signal(syscall.SIGSTOP)
	hung := time.Now()
	f.shared(2, "one hangs")
	time.Sleep(*hang - time.Since(hung))
	b.Signal(syscall.SIGCONT)
	f.shared(3, "it goes on")
	leader := f.cluster.Leader(t, streams.Flags)
	leader.Kill()
	f.goesOn("without the leader", cms, said)
	leader.Start(t)
	f.cluster.Whole(t)
	f.shared(3, "the leader is back")
	c.link.Forget()
	f.shared(2, "one was cut off in silence")
	f.shared(3, "it has connected anew")
	d.link.Cut() // for a moment
	d.link.Restore()
	f.shared(3, "another was cut off for a moment")
	// How long it takes is for tests on servers that nobody has just killed.
	d.Signal(syscall.SIGTERM)
	<-d.Ended()
	f.shared(2, "one was stopped")
	close(stop)
	<-published

	url := f.cluster.URL()
	password := f.args[slices.Index(f.args, "--nats-password-file")+1]
	s := f.sessionWith(client{NATS: &url, NATSUser: &f.cluster.Users.Loa.Name, NATSPasswordFile: &password})
	f.level(s)
	want := said.wanted()
	f.logAgrees(s, want)
	f.noDeadLetters(s)
	f.portalsAgree(want)
	var last time.Time
	for _, p := range f.partners {
		for _, d := range p.history() {
			if d.at.After(last) {
				last = d.at
			}
		}
		if len(p.overlaps) > 0 {
			t.Errorf("portal %s was sent two bulletins at once of %v", p.name, p.overlaps)
		}
		counts := p.receiver.Counts()
		if counts.Regressions > 0 || counts.Received > counts.Kept*12/10+1 {
			t.Errorf("portal %s: %+v; want no older version, and at most 1.2 requests for each that it needs", p.name, counts)
		}
	}
	t.Logf("the last bulletin arrived %.1f s after the CMS had ended", last.Sub(ended).Seconds())
}

// goesOn publishes an article, and waits until a portal has it.
func (f *fleet) goesOn(how string, cms jetstream.JetStream, said *ledger) {
	f.t.Helper()
	began := time.Now()
	a := sample.Articles(f.pictures)[0]
	a.ID, a.Images = "su-co", nil
	publish(f.t, cms, []events.Event{events.NewPublished(source, a)}, 0, said)
	stored := time.Since(began)
	guid := said.wanted()[streams.KeyOf(a.Site, a.ID)].guid
	waitFor(f.t, "an article to be delivered "+how, func() bool { _, ok := f.partners[0].receiver.Get(guid); return ok })
	f.t.Logf("%s, an article was stored after %.1f s, and delivered after %.1f s", how, stored.Seconds(), time.Since(began).Seconds())
}
