package train

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/router"
)

func TestOutcomes(t *testing.T) {
	code, chat := classIndex("code"), classIndex("chat_advice")
	var table [router.NumClasses]float64
	table[code], table[chat] = .1, -.06
	line := func(id, p, rest string) string {
		return fmt.Sprintf(`{"request_id":%q,"class_p":{%s},"gain":0.3%s}`+"\n", id, p, rest)
	}
	for _, tc := range []struct {
		name, log  string
		code, chat float64
		n          int
	}{
		{"nothing", "", .1, -.06, 0},
		{"nothing of a cheap answer", line("a", `"code":1`, `,"strong":true`), .1, -.06, 0},
		{"lost fifty times", strings.Repeat(line("", `"code":1`, `,"cheap":false,"strong":true`), 50), .55, -.06, 50},
		{"nothing gained fifty times", strings.Repeat(line("", `"code":1`, `,"cheap":true,"strong":true`), 50), .05, -.06, 50},
		{"the cheap one alone was right", strings.Repeat(line("", `"code":1`, `,"cheap":true,"strong":false`), 50), -.45, -.06, 50},
		{"the strong one was not judged", strings.Repeat(line("", `"code":1`, `,"cheap":false`), 50), .3, -.06, 50},
		{"shared by two classes", strings.Repeat(line("", `"code":0.5,"chat_advice":0.5`, `,"cheap":false,"strong":true`), 100), .55, .47, 100},
		{"signs alone", strings.Repeat(line("", `"code":1`, `,"cheap":false,"signal":"reask"`), 50), .1, -.06, 0},
		{"told", strings.Repeat(line("", `"code":1`, `,"cheap":true,"signal":"feedback"`), 50), .05, -.06, 50},
		{"empty lines", "\n" + strings.Repeat(line("", `"code":1`, `,"cheap":false`), 50) + " \n", .3, -.06, 50},
		{"thought again", line("a", `"code":1`, `,"cheap":false,"strong":true`) + line("a", `"code":1`, `,"cheap":true`), 5. / 51, -.06, 1},
	} {
		got, n, err := Outcomes(table, strings.NewReader(tc.log))
		if err != nil || n != tc.n || math.Abs(got[code]-tc.code) > 1e-9 || math.Abs(got[chat]-tc.chat) > 1e-9 {
			t.Errorf("%s: code %.4f, chat %.4f of %d (%v), want %.4f, %.4f of %d", tc.name, got[code], got[chat], n, err, tc.code, tc.chat, tc.n)
		}
	}
	for _, log := range []string{"{", `{"class_p":{"poetry":1},"cheap":true}`, `{"class_p":{"code":-50},"cheap":true}`, `{"class_p":{"code":1e9}}`, line("a", `"code":1`, `,"cheap":true`) + `{"cheap":7}`} {
		if got, _, err := Outcomes(table, strings.NewReader(log)); err == nil || got != table {
			t.Errorf("%q: %v", log, err)
		}
	}
}
