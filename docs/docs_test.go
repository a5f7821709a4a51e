// Package docs holds the user documentation. Its tests hold the documentation to the code: policies load, tables are complete, links lead
// somewhere.
package docs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/sluice-gateway/sluice/policies"
	"github.com/sluice-gateway/sluice/providers"
	"github.com/sluice-gateway/sluice/router"
)

// pages are the files that users read, from this folder.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"*.md", "../*.md", "../examples/*.md", "../examples/*/*.md"} {
		names, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all[name] = string(text)
		}
	}
	if len(all) < 8 {
		t.Fatalf("only %d pages found", len(all))
	}
	return all
}

var yamlBlock = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")

func TestPoliciesLoad(t *testing.T) {
	found := 0
	for name, text := range pages(t) {
		for _, m := range yamlBlock.FindAllStringSubmatchIndex(text, -1) {
			src := text[m[2]:m[3]]
			found++
			t.Run(fmt.Sprintf("%s:%d", filepath.Base(name), 1+strings.Count(text[:m[2]], "\n")), func(t *testing.T) {
				p, problems := policies.LoadBytes("block.yaml", []byte(src), policies.Options{Presets: providers.Presets(), Classes: router.Classes[:], Offline: true})
				for _, problem := range problems {
					t.Error(problem)
				}
				if p == nil {
					return
				}
				for _, n := range p.Notices {
					t.Errorf("a documented policy has a notice: %v", n)
				}
			})
		}
	}
	if found < 2 {
		t.Errorf("only %d policies found in the documentation", found)
	}
}

// rows returns the first cells of the tables in a section, without their backquotes, and the whole row of each.
func rows(section string) map[string]string {
	out := map[string]string{}
	for line := range strings.Lines(section) {
		if name, rest, ok := strings.Cut(strings.TrimPrefix(line, "| `"), "` |"); ok && strings.HasPrefix(line, "| `") {
			out[name] = rest
		}
	}
	return out
}

// section returns what stands under a heading of the second level.
func section(text, heading string) string {
	_, after, ok := strings.Cut(text, "\n## "+heading+"\n")
	if !ok {
		return ""
	}
	body, _, _ := strings.Cut(after, "\n## ")
	return body
}

// schema is what this test reads of the policy language's JSON Schema.
type schema struct {
	Properties map[string]*schema
	Additional json.RawMessage `json:"additionalProperties"`
	Items      *schema
	AnyOf      []*schema
}

// fields lists every field below a shape, as policy.md writes them: dict keys leave no trace but at the top, lists are a pair of brackets.
func (s *schema) fields(path string, out map[string]bool) {
	for name, f := range s.Properties {
		p := strings.TrimPrefix(path+"."+name, ".")
		out[p] = true
		f.fields(p, out)
	}
	for _, alt := range s.AnyOf {
		alt.fields(path, out)
	}
	if s.Items != nil {
		list := path + "[]"
		if path == "" {
			list = ""
		}
		s.Items.fields(list, out)
	}
	var elem schema
	if json.Unmarshal(s.Additional, &elem) == nil {
		elem.fields(path, out)
	}
}

// Every field of the language is in policy.md, as a row of its own or by name in its parent's, and every row is a field.
func TestPolicyReference(t *testing.T) {
	var language schema
	if err := json.Unmarshal(policies.Schema(), &language); err != nil {
		t.Fatal(err)
	}
	text := pages(t)["policy.md"]
	for name, top := range language.Properties {
		body := section(text, name)
		if body == "" {
			t.Errorf("policy.md has no section %s", name)
			continue
		}
		documented, fields := rows(body), map[string]bool{}
		top.fields("", fields)
		for f := range fields {
			parent, leaf := "", f
			if i := strings.LastIndex(f, "."); i >= 0 {
				parent, leaf = strings.TrimSuffix(f[:i], "[]"), f[i+1:]
			}
			if _, ok := documented[f]; ok || isSecret(leaf) || covered(documented, parent, leaf) {
				continue
			}
			t.Errorf("policy.md, section %s: no word of %s", name, f)
		}
		for row := range documented {
			if len(fields) > 0 && !fields[row] {
				t.Errorf("policy.md, section %s: the language has no %s", name, row)
			}
		}
	}
}

// covered reports whether the row of a parent, however far up, names the field.
func covered(documented map[string]string, parent, leaf string) bool {
	for parent != "" {
		if strings.Contains(documented[parent], "`"+leaf+"`") || strings.Contains(documented[parent], leaf+": ") {
			return true
		}
		i := strings.LastIndex(parent, ".")
		parent = strings.TrimSuffix(parent[:max(i, 0)], "[]")
	}
	return false
}

// isSecret reports whether a field is one of the two forms of a secret, which the page explains once.
func isSecret(leaf string) bool { return leaf == "env" || leaf == "file" }

func TestPolicyReferenceClasses(t *testing.T) {
	text := section(pages(t)["policy.md"], "Expressions")
	for _, c := range router.Classes {
		if !strings.Contains(text, "`"+c+"`") {
			t.Errorf("policy.md does not name the class %s", c)
		}
	}
}

func TestPresetsTable(t *testing.T) {
	documented := rows(section(pages(t)["providers.md"], "Presets"))
	presets := providers.Presets()
	for name, p := range presets {
		want := fmt.Sprintf(" `%s` | `%s` | `%s` |\n", p.BaseURL, p.KeyEnv, strings.ToLower(p.Auth.Header))
		if got := documented[name]; got != want {
			t.Errorf("providers.md, preset %s:\n got %q\nwant %q", name, got, want)
		}
	}
	for name := range documented {
		if _, ok := presets[name]; !ok {
			t.Errorf("providers.md: there is no preset %s", name)
		}
	}
}

func TestEnginesTable(t *testing.T) {
	documented := rows(section(pages(t)["providers.md"], "Engines"))
	for name, row := range documented {
		e, ok := providers.EngineNamed(name)
		if !ok {
			t.Errorf("providers.md: there is no engine %s", name)
			continue
		}
		if want := fmt.Sprintf(" `%s` | %d | ", e.Health, e.Port); !strings.HasPrefix(row, want) {
			t.Errorf("providers.md, engine %s: %q, want it to begin with %q", name, row, want)
		}
	}
	var language struct {
		Properties struct {
			Providers struct {
				Each struct {
					Properties struct{ Engine struct{ Enum []string } }
				} `json:"additionalProperties"`
			}
		}
	}
	if err := json.Unmarshal(policies.Schema(), &language); err != nil {
		t.Fatal(err)
	}
	engines := language.Properties.Providers.Each.Properties.Engine.Enum
	if len(engines) == 0 {
		t.Fatal("the language knows no engine")
	}
	for _, name := range engines {
		if _, ok := documented[name]; !ok {
			t.Errorf("providers.md does not name the engine %s", name)
		}
	}
}

func TestContinuationsTable(t *testing.T) {
	documented := rows(section(pages(t)["providers.md"], "Carrying a stream on"))
	check := func(p *policies.Provider, name string) {
		c, ok := providers.Continuation(p)
		want := " a last assistant message"
		switch {
		case c.Final:
			want += ", `continue_final_message`"
		case c.Member != "":
			want += " with `" + c.Member + "`"
		}
		if row, there := documented[name]; there != ok || ok && row != want+" |\n" {
			t.Errorf("providers.md, %s: %q, want %q (%t)", name, row, want, ok)
		}
		delete(documented, name)
	}
	for name := range providers.Presets() {
		check(&policies.Provider{Preset: name}, name)
	}
	for _, name := range []string{"vllm", "sglang", "llamacpp", "ollama", "tgi", "lmdeploy", "trtllm"} {
		check(&policies.Provider{Own: true, Engine: name}, name)
	}
	for name := range documented {
		t.Errorf("providers.md: nobody is called %s", name)
	}
}

var link = regexp.MustCompile(`\]\(([^)#:\s]+)(#[^)]*)?\)`)

func TestLinks(t *testing.T) {
	for name, text := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(name), m[1])); err != nil {
				t.Errorf("%s links to %s: %v", name, m[1], err)
			}
		}
	}
}

func TestExamples(t *testing.T) {
	index := pages(t)["../examples/README.md"]
	found, err := filepath.Glob("../examples/*/policy.yaml")
	if err != nil || len(found) == 0 {
		t.Fatalf("no example found: %v", err)
	}
	for _, file := range found {
		dir := filepath.Dir(file)
		if _, err := os.Stat(filepath.Join(dir, "README.md")); err != nil {
			t.Errorf("%s has no README.md", dir)
		}
		if !strings.Contains(index, "("+filepath.Base(dir)+"/)") {
			t.Errorf("examples/README.md does not list %s", filepath.Base(dir))
		}
	}
}

// TestNoMachine finds paths of the machine that a page was written on, which help nobody else.
func TestNoMachine(t *testing.T) {
	here, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	machine := []string{here, "/home/", "/tmp/"}
	for name, text := range pages(t) {
		if i := slices.IndexFunc(machine, func(s string) bool { return strings.Contains(text, s) }); i >= 0 {
			t.Errorf("%s holds the path %s", name, machine[i])
		}
	}
}
