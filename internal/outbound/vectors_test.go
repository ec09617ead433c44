package outbound

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// fence stands behind the guard, and stops what the guard lets pass: no vector can send a packet
// anywhere but to the test's own servers, whatever the guard does.
type fence struct {
	own []string // addresses of servers

	mu     sync.Mutex
	passed []string // the others that the guard let pass
}

// client makes a client of which every address passes the guard and then the fence.
func (f *fence) client(t *testing.T, o Options) *http.Client {
	c := newClient(o, f.control(o))
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// direct is client over a [Direct].
func (f *fence) direct(t *testing.T, o Options) *http.Client {
	d := newDirect(o, f.control(o))
	t.Cleanup(d.CloseIdleConnections)
	return overDirect(o, d)
}

func (f *fence) control(o Options) control {
	guard := newGuard(o.Allow)
	return func(network, address string, raw syscall.RawConn) error {
		if err := guard.control(network, address, raw); err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if slices.Contains(f.own, address) {
			return nil
		}
		f.passed = append(f.passed, address)
		return fmt.Errorf("the guard let %s pass", address)
	}
}

// taken gives what passed the guard since it was called last.
func (f *fence) taken() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	passed := f.passed
	f.passed = nil
	return passed
}

// call does what the callers of this package do with an address that others chose.
func call(t *testing.T, c *http.Client, raw string) error {
	if _, err := CheckURL(raw, true); err != nil {
		return err
	}
	_, _, err := get(t, c, raw)
	return err
}

// internal are IPv4 addresses that must never be called: of the machine, of its networks, of
// clouds' metadata, and of no one host.
var internal = []string{
	"127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.5.4", "192.168.1.1", "100.64.0.1",
	"169.254.169.254", // AWS, Azure, Google, OpenStack
	"169.254.170.2",   // AWS, of containers
	"100.100.100.200", // Alibaba
	"192.0.0.192",     // Oracle
	"168.63.129.16",   // Azure, of the host
}

// disguises are the forms of one IPv4 address that some resolver, library or kernel reads as it.
func disguises(address string) []string {
	ip := netip.MustParseAddr(address).As4()
	n := uint32(ip[0])<<24 | uint32(ip[1])<<16 | uint32(ip[2])<<8 | uint32(ip[3])
	wide := strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r - '0' + '０'
		}
		return r
	}, address)
	high, low := n>>16, n&0xffff
	return []string{
		address, address + ".",
		fmt.Sprint(n), fmt.Sprintf("0x%x", n), fmt.Sprintf("0X%08X", n), fmt.Sprintf("0%o", n),
		fmt.Sprintf("%d.%d", ip[0], n&0xffffff), fmt.Sprintf("%d.%d.%d", ip[0], ip[1], low),
		fmt.Sprintf("0%o.0%o.0%o.0%o", ip[0], ip[1], ip[2], ip[3]),
		fmt.Sprintf("0x%x.0x%x.0x%x.0x%x", ip[0], ip[1], ip[2], ip[3]),
		fmt.Sprintf("0x%x.%d.0%o.%d", ip[0], ip[1], ip[2], ip[3]),
		fmt.Sprintf("%03d.%03d.%03d.%03d", ip[0], ip[1], ip[2], ip[3]),
		wide, strings.ReplaceAll(address, ".", "。"), // which IDNA maps to ASCII
		strings.ReplaceAll(address, ".", "%2e"), fmt.Sprintf("%%3%d%s", address[0]-'0', address[1:]),
		"[::ffff:" + address + "]", fmt.Sprintf("[::ffff:%x:%x]", high, low), fmt.Sprintf("[0:0:0:0:0:FFFF:%X:%X]", high, low),
		fmt.Sprintf("[::ffff:0:%x:%x]", high, low),                                   // SIIT
		fmt.Sprintf("[::%x:%x]", high, low),                                          // IPv4-compatible
		fmt.Sprintf("[64:ff9b::%x:%x]", high, low),                                   // NAT64
		fmt.Sprintf("[64:ff9b:1::%x:%x]", high, low),                                 // local NAT64
		fmt.Sprintf("[2002:%x:%x::1]", high, low),                                    // 6to4
		fmt.Sprintf("[2001:0:4136:e378:8000:63bf:%x:%x]", ^high&0xffff, ^low&0xffff), // Teredo
		fmt.Sprintf("[fe80::5efe:%x:%x]", high, low),                                 // ISATAP
	}
}

// vectors are URLs that must be refused.
func vectors() (all []string) {
	for _, address := range internal {
		for _, host := range disguises(address) {
			all = append(all, "http://"+host+"/", "https://"+host+":8443/latest/meta-data/")
		}
	}
	for _, host := range []string{
		"localhost", "LOCALHOST", "localhost.", "0", "0.", "0x0", "00", "127.1", "127.0.1", "127.0.0.1..", "127..0.1",
		"172.31.255.255", "192.168.255.255", "100.127.255.254", "10.255.255.255", "169.254.0.1",
		"192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255", "192.88.99.1", "192.0.0.8",
		"224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
		"[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]", "[fe80::1]", "[fe80::1%25eth0]", "[febf::1]", "[fec0::1]",
		"[fc00::1]", "[fd12:3456:789a::1]", "[fd00:ec2::254]", "[fd20:ce::254]", "[fd00:c1::a9fe:a9fe]",
		"[ff02::1]", "[ff05::1:3]", "[ff0e::1]", "[2001:db8::1]", "[3fff::1]", "[2001:2::1]", "[2001:10::1]", "[2001:20::1]",
		"[100::1]", "[5f00::1]", "[64:ff9b:1::808:808]", "[64:ff9b::808:808]", "[2002:808:808::1]", "[2620:4f:8000::1]",
		"①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.1", "٠x7f.1", "127.0.0.1%00.example.test", "example.test%2f@127.0.0.1",
		"evil.test", "intern.evil.test", "xn--a.evil.test", // whose DNS says 127.0.0.1
	} {
		all = append(all, "http://"+host+"/", "https://"+host+":8443/")
	}
	return append(all,
		"http://example.test@127.0.0.1/", "http://user:secret@example.test/", "http://127.0.0.1:80@example.test/",
		"http://example.test#@127.0.0.1/", "http://127.0.0.1\\@example.test/", "http://example.test\\.evil.test/",
		"http://:@127.0.0.1/", "http://%40127.0.0.1/", "http://@/", "http:127.0.0.1", "http:/127.0.0.1/", "http:///127.0.0.1/",
		"//127.0.0.1/", "/latest/meta-data", "", " http://127.0.0.1/", "http://127.0.0.1 /", "http://127.0.0.1\r\nHost: x/",
		"http://127.0.0.1\t/", "http://[::1/", "http://::1/", "http://[127.0.0.1]/", "http://[::ffff:7f.1]/", "http://[v1.x]/",
		"http://example.test:22/", "http://example.test:25/", "http://example.test:0/", "http://example.test:65536/",
		"http://example.test:-80/", "http://example.test:/", "http://example.test:080x/", "http://example.test:6379@127.0.0.1/",
		"file:///etc/passwd", "file://127.0.0.1/etc/passwd", "gopher://127.0.0.1:6379/_INFO", "dict://127.0.0.1:11211/stats",
		"ftp://127.0.0.1/", "ldap://127.0.0.1/", "tftp://127.0.0.1/", "jar:http://127.0.0.1!/", "data:text/plain,x",
		"javascript:alert(1)", "unix:///var/run/docker.sock", "http+unix://%2Fvar%2Frun%2Fdocker.sock/", "ws://127.0.0.1/",
		"netdoc:///etc/passwd", "view-source:http://127.0.0.1/", "mailto:a@example.test", "HTTP:\\\\127.0.0.1/",
	)
}

// front is where a server stands for one that is out in the world: it alone may be called.
const front = "127.0.0.77"

// startFront starts the server.
func startFront(t *testing.T, h http.HandlerFunc) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", front+":0")
	if err != nil {
		t.Skip(err) // not every system has all of 127.0.0.0/8
	}
	srv := &http.Server{Handler: h}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// TestNoVectorGetsPastTheGuard calls every vector as portals are called and as pictures are
// fetched, by its own address and by a redirect to it.
func TestNoVectorGetsPastTheGuard(t *testing.T) {
	t.Parallel()
	dns := startDNS(t, func(string) answers { return answers{a: []string{"127.0.0.1"}} }) // believes every name
	var target string
	address := startFront(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", target)
		w.WriteHeader(http.StatusFound)
	})
	f := &fence{own: []string{address}}
	allow := []netip.Prefix{netip.MustParsePrefix(front + "/32")}
	portal := f.direct(t, Options{Timeout: 5 * time.Second, Resolver: dns})
	picture := f.client(t, Options{Timeout: 5 * time.Second, Resolver: dns, Allow: allow, MaxRedirects: 3})
	all := vectors()
	for _, raw := range all {
		for name, c := range map[string]*http.Client{"portal": portal, "picture": picture} {
			var refused *RefusedError
			if err := call(t, c, raw); !asRefused(err, &refused) {
				t.Errorf("%s %q: got %v; want a RefusedError", name, raw, err)
			}
		}
		// What is no address of another server is resolved against the one that redirects.
		if elsewhere := strings.Contains(raw, "://"); elsewhere {
			target = raw
			if err := call(t, picture, "http://"+address+"/"); err == nil {
				t.Errorf("a redirect to %q was followed", raw)
			}
		}
		if passed := f.taken(); len(passed) > 0 {
			t.Errorf("%q had %v dialled", raw, passed)
		}
	}
	if len(all) < 200 {
		t.Errorf("%d vectors, want at least 200", len(all))
	}
	t.Logf("%d vectors", len(all))
}

func TestAnAllowedIntranetAddressIsCalled(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	address := startFront(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	_, port, _ := net.SplitHostPort(address)
	f := &fence{own: []string{address}}
	dns := startDNS(t, func(string) answers { return answers{a: []string{front}} })
	o := Options{Resolver: dns, Allow: []netip.Prefix{netip.MustParsePrefix(front + "/32")}}
	for _, c := range []*http.Client{f.client(t, o), f.direct(t, o)} {
		for _, host := range []string{front, "noi-bo.anhoa.test"} {
			if err := call(t, c, "http://"+host+":"+port+"/"); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		if n := calls.Swap(0); n != 2 {
			t.Errorf("%d calls arrived, want 2", n)
		}
		// And no other one.
		if err := call(t, c, "http://127.0.0.78:"+port+"/"); !asRefused(err, new(*RefusedError)) || f.taken() != nil {
			t.Errorf("its neighbour: %v", err)
		}
	}
}

// TestNamesThatLeadAstray are those whose DNS answers well at first, or in part.
func TestNamesThatLeadAstray(t *testing.T) {
	t.Parallel()
	for way, with := range map[string]func(*fence, *testing.T, Options) *http.Client{"client": (*fence).client, "direct": (*fence).direct} {
		t.Run(way, func(t *testing.T) { leadAstray(t, with) })
	}
}

func leadAstray(t *testing.T, with func(*fence, *testing.T, Options) *http.Client) {
	var calls atomic.Int64
	address := startFront(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	_, port, _ := net.SplitHostPort(address)
	for name, c := range map[string]struct {
		answers []answers // in turn; the last again and again
		arrives bool      // in the end; else it is refused
	}{
		"rebinding":                  {answers: []answers{{a: []string{front}}, {a: []string{"10.0.0.1"}}}},
		"rebinding to metadata":      {answers: []answers{{a: []string{front}}, {a: []string{"169.254.169.254"}}}},
		"rebinding to IPv6":          {answers: []answers{{a: []string{front}}, {aaaa: []string{"::1"}}}},
		"rebinding to mapped IPv4":   {answers: []answers{{a: []string{front}}, {aaaa: []string{"::ffff:10.0.0.1"}}}},
		"all private":                {answers: []answers{{a: []string{front}}, {a: []string{"10.0.0.1", "192.168.0.1"}, aaaa: []string{"fd00::1", "fe80::1"}}}},
		"one private, the first":     {answers: []answers{{a: []string{"10.0.0.1", front}}}, arrives: true},
		"one private, the last":      {answers: []answers{{a: []string{front, "10.0.0.1"}}}, arrives: true},
		"private IPv6 beside it":     {answers: []answers{{a: []string{front}, aaaa: []string{"fd00::1"}}}, arrives: true},
		"chain of CNAMEs to private": {answers: []answers{{a: []string{front}}, {cname: []string{"a.test.", "b.test.", "c.test."}, a: []string{"172.16.0.1"}}}},
		"chain of CNAMEs to allowed": {answers: []answers{{cname: []string{"a.test.", "b.test."}, a: []string{front}}}, arrives: true},
	} {
		var mu sync.Mutex
		lookups := map[string]int{} // of each type
		dns := startDNS(t, func(kind string) answers {
			mu.Lock()
			defer mu.Unlock()
			lookups[kind]++
			return c.answers[min(lookups[kind], len(c.answers))-1]
		})
		f := &fence{own: []string{address}}
		cl := with(f, t, Options{Timeout: 5 * time.Second, Resolver: dns, Allow: []netip.Prefix{netip.MustParsePrefix(front + "/32")}})
		before := calls.Load()
		if err := call(t, cl, "http://cong.anhoa.test:"+port+"/"); err != nil || calls.Load() != before+1 {
			t.Errorf("%s: at first: %v, %d calls", name, err, calls.Load()-before)
		}
		cl.CloseIdleConnections()
		err := call(t, cl, "http://cong.anhoa.test:"+port+"/")
		if c.arrives && err != nil || !c.arrives && !asRefused(err, new(*RefusedError)) {
			t.Errorf("%s: then: %v", name, err)
		}
		if passed := f.taken(); len(passed) > 0 {
			t.Errorf("%s had %v dialled", name, passed)
		}
	}
}

// answers are what a name server says of a name: at the end of a chain of CNAMEs, addresses.
type answers struct{ cname, a, aaaa []string }

// startDNS starts a name server on loopback, and gives a resolver that asks it alone. about is
// asked about every question of type "A" or "AAAA", whatever the name.
func startDNS(t *testing.T, about func(kind string) answers) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		packet := make([]byte, 4<<10)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			var q dnsmessage.Message
			if q.Unpack(packet[:n]) != nil || len(q.Questions) != 1 {
				continue
			}
			if answer, err := reply(q, about); err == nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
	t.Cleanup(func() { conn.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}

func reply(q dnsmessage.Message, about func(kind string) answers) ([]byte, error) {
	question := q.Questions[0]
	r := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, Authoritative: true, RecursionAvailable: true}, Questions: q.Questions}
	name := question.Name
	add := func(body dnsmessage.ResourceBody) {
		r.Answers = append(r.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: name, Class: dnsmessage.ClassINET}, Body: body})
	}
	known := about(strings.TrimPrefix(question.Type.String(), "Type"))
	for _, next := range known.cname {
		to := dnsmessage.MustNewName(next)
		add(&dnsmessage.CNAMEResource{CNAME: to})
		name = to
	}
	switch question.Type {
	case dnsmessage.TypeA:
		for _, a := range known.a {
			add(&dnsmessage.AResource{A: netip.MustParseAddr(a).As4()})
		}
	case dnsmessage.TypeAAAA:
		for _, a := range known.aaaa {
			add(&dnsmessage.AAAAResource{AAAA: netip.MustParseAddr(a).As16()})
		}
	}
	return r.Pack()
}
