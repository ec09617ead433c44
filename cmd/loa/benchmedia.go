package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image/gif"
	"image/jpeg"
	"image/png"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"github.com/rs/zerolog"

	"github.com/loa-syndication/loa/events"
	"github.com/loa-syndication/loa/internal/config"
	"github.com/loa-syndication/loa/internal/sample"
	"github.com/loa-syndication/loa/internal/streams"
	"github.com/loa-syndication/loa/workers/media"
	"github.com/loa-syndication/loa/workers/media/picture"
)

type benchMediaCmd struct {
	benchFlags
	size *mediaSize // tests set it
	// command starts this program again.
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
}

// Help is shown by loa bench media --help.
func (*benchMediaCmd) Help() string {
	return benchHelp + `

One picture of 12 megapixels is made into three widths in two formats by a process that
does nothing else, from its start to its end; the floor is six runs of vipsthumbnail,
where that is installed. The mixed pictures are photographs of 0.4 to 12 megapixels,
panoramas, drawings with transparency, PNG, WebP and GIF, each with bytes of its own. They
are fetched from a server, made and stored, as many at once as the intake does, by a
process that may use two processors; the floor is one that may use one. The same pictures
are then asked for again, and at other addresses; the floor of that is the first time.`
}

// mediaSize is how much is measured.
type mediaSize struct {
	alone    int // rounds of the single picture
	rounds   int // of the mixed ones
	pictures int // mixed ones in a round
	photo    int // height of the single picture
	smaller  int // by which the mixed ones are divided
}

var (
	mediaFull  = mediaSize{alone: 7, rounds: 2, pictures: 500, photo: 3024, smaller: 1}
	mediaShort = mediaSize{alone: 3, rounds: 3, pictures: 40, photo: 3024, smaller: 2}
)

// mixture are the mixed pictures, which take turns.
var mixture = []struct {
	width, height int // 0: a drawing
	ext           string
}{
	{1600, 1067, "jpg"}, {800, 533, "jpg"}, {0, 0, "png"}, {1280, 853, "webp"}, {1600, 1067, "jpg"}, {1024, 768, "jpg"},
	{4032, 3024, "jpg"}, {800, 533, "jpg"}, {1200, 1600, "jpg"}, {1024, 768, "png"}, {1600, 1067, "jpg"}, {800, 533, "webp"},
	{1920, 1080, "jpg"}, {800, 533, "jpg"}, {640, 427, "gif"}, {1600, 1067, "jpg"}, {2560, 1707, "jpg"}, {0, 0, "png"},
	{4800, 1350, "jpg"}, {1024, 768, "jpg"},
}

const (
	// renderedGoal and storedGoal are in MB: of the process that makes one picture, and of the one that
	// stores the mixed ones, in which NATS and S3 are too.
	renderedGoal = 100
	storedGoal   = 400
	// coresUsed is how many processors the mixed pictures may use.
	coresUsed = 2
)

func (c *benchMediaCmd) Run(e *env) error {
	size := mediaFull
	if c.Short {
		size = mediaShort
	}
	if c.size != nil {
		size = *c.size
	}
	command := selfCommand
	if c.command != nil {
		command = c.command
	}
	return c.run(e, func(b *bench) error {
		mb := &mediaBench{bench: b, size: size, command: command}
		if err := mb.alone(); err != nil {
			return err
		}
		return mb.mixed()
	})
}

type mediaBench struct {
	*bench
	size    mediaSize
	command func(ctx context.Context, args ...string) (*exec.Cmd, error)
}

// finish runs a process, and gives how long it took, and what it printed.
func finish(cmd *exec.Cmd) (took time.Duration, out []byte, err error) {
	var faults bytes.Buffer
	cmd.Stderr = &faults
	began := time.Now()
	out, err = cmd.Output()
	took = time.Since(began)
	if err != nil {
		return 0, nil, fmt.Errorf("run %s: %w: %s", strings.Join(cmd.Args, " "), err, faults.String())
	}
	return took, out, nil
}

// told is what the processes that this benchmark starts print, as JSON.
type told struct {
	// First, Again and Elsewhere are in pictures a second.
	First, Again, Elsewhere float64
	// Memory is the most that was resident, in MB. What the system tells of an ended child is
	// no less than its parent had when it started it.
	Memory float64
}

func (t told) print(e *env) error {
	self, err := procfs.Self()
	if err != nil {
		return err
	}
	status, err := self.NewStatus()
	if err != nil {
		return err
	}
	t.Memory = float64(status.VmHWM) / 1e6
	return json.NewEncoder(e.stdout).Encode(t)
}

// child runs this program with other arguments.
func (mb *mediaBench) child(cores int, args ...string) (time.Duration, told, error) {
	var t told
	cmd, err := mb.command(mb.ctx, args...)
	if err != nil {
		return 0, t, err
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	if cores > 0 {
		cmd.Env = append(cmd.Env, fmt.Sprint("GOMAXPROCS=", cores))
	}
	took, out, err := finish(cmd)
	if err != nil {
		return 0, t, err
	}
	if err := json.NewDecoder(bytes.NewReader(out)).Decode(&t); err != nil {
		return 0, t, fmt.Errorf("read what %s printed: %w", strings.Join(cmd.Args, " "), err)
	}
	return took, t, nil
}

// alone measures one picture of 12 megapixels.
func (mb *mediaBench) alone() error {
	file := filepath.Join(mb.dir, "photo.jpg")
	if err := os.WriteFile(file, sample.Photo(1, mb.size.photo*4/3, mb.size.photo), 0o600); err != nil {
		return err
	}
	vips, err := exec.LookPath("vipsthumbnail")
	if err != nil {
		mb.say("vipsthumbnail (Debian's libvips-tools) is not installed: no floor for a single picture")
	}
	var took, memory, floor []float64
	for mb.more(len(took), mb.size.alone, shortFirst) {
		t, ours, err := mb.child(0, "bench", "render", file, mb.dir)
		if err != nil {
			return err
		}
		took, memory = append(took, ms(t)), append(memory, ours.Memory)
		beside := "alone"
		if vips != "" {
			bare, err := mb.thumbnails(vips, file)
			if err != nil {
				return err
			}
			floor = append(floor, ms(bare))
			beside = fmt.Sprintf("six vipsthumbnail %.0f ms", ms(bare))
		}
		mb.say("round %d of %d: one picture %.0f ms, %.0f MB, %s", len(took), mb.size.alone, ms(t), ours.Memory, beside)
	}
	if mb.ctx.Err() != nil {
		return mb.ctx.Err()
	}
	one := figure{Figure: "12 megapixels to 3 widths in 2 formats (floor: 6 vipsthumbnail)", Value: median(took), Unit: "ms"}
	if len(floor) > 0 {
		one = one.over(median(floor)).atMost(1)
	}
	if err := mb.report(one); err != nil {
		return err
	}
	return mb.report(figure{Figure: "12 megapixels to 3 widths in 2 formats, memory", Value: slices.Max(memory), Unit: "MB"}.atMost(renderedGoal))
}

// thumbnails has vipsthumbnail make the same files, one after the other.
func (mb *mediaBench) thumbnails(vips, file string) (took time.Duration, err error) {
	forms := picture.DefaultForms()
	for _, width := range forms.Widths {
		for _, format := range forms.Formats {
			into := fmt.Sprintf("%s/vips-%d.%s[Q=80]", mb.dir, width, format.Ext())
			t, _, err := finish(exec.CommandContext(mb.ctx, vips, "--size", fmt.Sprintf("%dx", width), "-o", into, file))
			if err != nil {
				return 0, err
			}
			took += t
		}
	}
	return took, nil
}

// benchRenderCmd makes the renditions of one picture, as vipsthumbnail makes one of them, and prints
// a [told].
type benchRenderCmd struct {
	File string `arg:"" help:"The picture."`
	Into string `arg:"" help:"Folder for its renditions."`
}

func (c *benchRenderCmd) Run(e *env) error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return err
	}
	pic, err := picture.Open(data, picture.Limits{})
	if err != nil {
		return err
	}
	made, err := pic.Render(e.ctx, picture.DefaultForms())
	if err != nil {
		return err
	}
	for _, r := range made.Renditions {
		if err := os.WriteFile(filepath.Join(c.Into, fmt.Sprintf("w%d.%s", r.Width, r.Format.Ext())), r.Data, 0o600); err != nil {
			return err
		}
	}
	return told{}.print(e)
}

// mixed measures many pictures, with one processor and with two.
func (mb *mediaBench) mixed() error {
	folder := filepath.Join(mb.dir, "mixed")
	if err := mb.draw(folder); err != nil {
		return err
	}
	mb.say("drew %d pictures to be mixed", len(mixture))
	var rates, floors, again, elsewhere, memory []float64
	for round := 0; mb.more(round, mb.size.rounds, shortLast); round++ {
		both, err := mb.stored(folder, coresUsed)
		if err != nil {
			return err
		}
		one, err := mb.stored(folder, 1)
		if err != nil {
			return err
		}
		mb.say("round %d of %d: %d mixed pictures at %.1f/s, %.0f MB, with one processor %.1f/s; again at %.0f/s",
			round+1, mb.size.rounds, mb.size.pictures, both.First, both.Memory, one.First, both.Again)
		rates, floors, memory = append(rates, both.First), append(floors, one.First), append(memory, both.Memory)
		again, elsewhere = append(again, both.Again), append(elsewhere, both.Elsewhere)
	}
	if mb.ctx.Err() != nil {
		return mb.ctx.Err()
	}
	first := figure{Figure: "mixed pictures stored, two processors (floor: one)", Value: median(rates), Unit: "pictures/s"}.over(median(floors))
	if runtime.NumCPU() >= coresUsed {
		first = first.noLessThan(1.7)
	}
	for _, f := range []figure{
		first,
		figure{Figure: "mixed pictures stored, memory with NATS and S3", Value: slices.Max(memory), Unit: "MB"}.atMost(storedGoal),
		figure{Figure: "the same pictures again (floor: the first time)", Value: median(again), Unit: "pictures/s"}.over(first.Value).noLessThan(50),
		figure{Figure: "the same pictures at other addresses (floor: the first time)", Value: median(elsewhere), Unit: "pictures/s"}.over(first.Value),
	} {
		if err := mb.report(f); err != nil {
			return err
		}
	}
	return nil
}

// draw writes the pictures that are mixed.
func (mb *mediaBench) draw(folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return err
	}
	for i, m := range mixture {
		data, _ := sample.Draw("huy-hieu-an-hoa.png")
		if m.width > 0 {
			var err error
			if data, err = encoded(mb.ctx, sample.Photo(uint64(i+2), m.width/mb.size.smaller, m.height/mb.size.smaller), m.ext); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%02d.%s", i, m.ext)), data, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// encoded is a JPEG in another format.
func encoded(ctx context.Context, data []byte, ext string) ([]byte, error) {
	var b bytes.Buffer
	switch ext {
	case "png", "gif":
		img, err := jpeg.Decode(bytes.NewReader(data))
		if err == nil && ext == "png" {
			err = png.Encode(&b, img)
		} else if err == nil {
			err = gif.Encode(&b, img, nil)
		}
		return b.Bytes(), err
	case "webp":
		pic, err := picture.Open(data, picture.Limits{})
		if err != nil {
			return nil, err
		}
		made, err := pic.Render(ctx, picture.Forms{Widths: []int{pic.Width}, Formats: []picture.Format{picture.WebP}})
		if err != nil {
			return nil, err
		}
		return made.Renditions[0].Data, nil
	}
	return data, nil
}

// stored has a process store mixed pictures with so many processors.
func (mb *mediaBench) stored(folder string, cores int) (told, error) {
	_, t, err := mb.child(cores, "bench", "pictures", folder, fmt.Sprint("--count=", mb.size.pictures))
	return t, err
}

// benchPicturesCmd stores pictures in a process of its own, whose memory can be told and whose
// processors bounded, and prints a [told].
type benchPicturesCmd struct {
	benchFlags
	From  string `arg:"" help:"Folder with the files that are mixed."`
	Count int    `default:"100" help:"Pictures that are made of them."`
}

func (c *benchPicturesCmd) Run(e *env) error {
	from, err := readAlbum(c.From)
	if err != nil {
		return err
	}
	return c.run(e, func(b *bench) error {
		address, stop, err := from.serve()
		if err != nil {
			return err
		}
		defer stop()
		bb, err := b.backbone("media")
		if err != nil {
			return err
		}
		defer bb.close()
		cfg := config.Default()
		cfg.Media.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		options := pictureOptions(cfg)
		options.Objects, options.Log = bb.store, zerolog.Nop()
		if options.Index, err = bb.js.KeyValue(b.ctx, streams.MediaBucket); err != nil {
			return fmt.Errorf("open bucket %s: %w", streams.MediaBucket, err)
		}
		pictures := media.New(options)
		defer pictures.Close()
		var rates told
		for _, pass := range []struct {
			path string
			rate *float64
		}{{"mot", &rates.First}, {"mot", &rates.Again}, {"hai", &rates.Elsewhere}} {
			began := time.Now()
			err := atOnce(b.ctx, intakeAtOnce, c.Count, func(ctx context.Context, i int) error {
				_, err := pictures.Store(ctx, events.Image{URL: fmt.Sprintf("%s/%s/%d", address, pass.path, i)})
				return err
			})
			if err != nil {
				return err
			}
			*pass.rate = float64(c.Count) / time.Since(began).Seconds()
		}
		return rates.print(e)
	})
}

// album are files, of which many pictures are made.
type album [][]byte

func readAlbum(folder string) (album, error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var all album
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no pictures in %s", folder)
	}
	return all, nil
}

// serve answers /NAME/N with the Nth picture: one of the files, with the number behind its end,
// where it concerns no decoder, but makes it another.
func (a album) serve() (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{name}/{n}", func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.Atoi(r.PathValue("n"))
		if err != nil || n < 0 {
			http.NotFound(w, r)
			return
		}
		file, number := a[n%len(a)], fmt.Sprintf("%08d", n)
		w.Header().Set("Content-Length", strconv.Itoa(len(file)+len(number)))
		_, _ = w.Write(file) // whoever asks sees it when something is missing
		_, _ = w.Write([]byte(number))
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: headerTimeout}
	go srv.Serve(l) // until Close
	return "http://" + l.Addr().String(), func() { _ = srv.Close() }, nil
}
