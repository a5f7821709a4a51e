// Command go runs the official OpenAI SDK for Go, unmodified but for the base URL, against a gateway: one line a check, a summary,
// and exit 1 at the first failure. It takes its base URL, key and model names from the environment, like the other suites of clients/.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
)

// suite is the SDK's client and the names that the policy under test gave its routes.
type suite struct {
	client                             openai.Client
	model, embed, tools, denied, badID string
}

type check struct {
	name string
	run  func(context.Context) error
}

func main() {
	s := suite{
		client: openai.NewClient(
			option.WithBaseURL(cmp.Or(os.Getenv("SLUICE_BASE_URL"), "http://127.0.0.1:8080/v1")),
			option.WithAPIKey(cmp.Or(os.Getenv("SLUICE_API_KEY"), "none")),
			option.WithMaxRetries(0)),
		model:  cmp.Or(os.Getenv("SLUICE_MODEL"), "auto"),
		embed:  cmp.Or(os.Getenv("SLUICE_EMBED_MODEL"), "embed"),
		tools:  cmp.Or(os.Getenv("SLUICE_TOOLS_MODEL"), "tools"),
		denied: os.Getenv("SLUICE_DENIED_MODEL"),
		badID:  "no-such-model",
	}
	os.Exit(run(s.checks(), os.Args[1:]))
}

func run(checks []check, wanted []string) int {
	passed := 0
	for _, c := range checks {
		if len(wanted) > 0 && !slices.Contains(wanted, c.name) {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		err := c.run(ctx)
		cancel()
		if err != nil {
			fmt.Printf("FAIL %s: %v\n%d passed, 1 failed\n", c.name, err, passed)
			return 1
		}
		passed++
		fmt.Println("ok", c.name)
	}
	fmt.Printf("%d passed, 0 failed\n", passed)
	return 0
}

// status wants the SDK's own error type with a status and, where one is given, a code.
func status(err error, want int, code string) error {
	var api *openai.Error
	if !errors.As(err, &api) {
		return fmt.Errorf("got %v, want an openai.Error with status %d", err, want)
	}
	if api.StatusCode != want {
		return fmt.Errorf("status %d, want %d: %w", api.StatusCode, want, api)
	}
	if code != "" && api.Code != code {
		return fmt.Errorf("code %q, want %q", api.Code, code)
	}
	return nil
}
