// Command sluice is the gateway and its tools: one file a subcommand, wiring only.
//
// Its invariant: what a command decides is decided in the packages below it; here flags become options, values become text, and errors become
// exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	_ "time/tzdata" // zones of budgets, where the machine has none

	"github.com/alecthomas/kong"
)

// The exit codes of every command.
const (
	exitOK       = 0
	exitProblems = 1 // the answer is no: a policy has problems, a test failed
	exitBad      = 2 // bad use, or the command could not do its work
)

// world is what a command may touch. Tests replace all of it.
type world struct {
	ctx            context.Context // ends at the first signal to stop
	stdin          io.Reader
	stdout, stderr io.Writer
	env            func(string) (string, bool)
	// signals delivers what a server acts on: SIGHUP reloads, SIGINT and SIGTERM stop it.
	signals <-chan os.Signal
	// serving is told of a server's listeners once it is ready; nil = nobody asks.
	serving func(addresses)
	// threads is runtime.GOMAXPROCS; nil = nothing is to be changed for the whole process.
	threads func(int) int
}

// cli is the command line.
type cli struct {
	Serve     serveCmd     `cmd:"" help:"Run the gateway."`
	Check     checkCmd     `cmd:"" help:"Print every problem of a policy, then run its tests."`
	Explain   explainCmd   `cmd:"" help:"Say what would happen to a request, and why. Calls nobody."`
	Classify  classifyCmd  `cmd:"" help:"Classify prompts, one JSON object a line."`
	Calibrate calibrateCmd `cmd:"" help:"Compute by_gain's threshold and its bound from judged prompts."`
	Keys      keysCmd      `cmd:"" help:"Make, list, revoke and rotate keys."`
	Usage     usageCmd     `cmd:"" help:"Print what was used and what it cost, from the ledger."`
	Cost      costCmd      `cmd:"" help:"Convert neurons, USD, tokens and GPU time into one another."`
	Demo      demoCmd      `cmd:"" help:"Send six prompts through a gateway and show what went where and why."`
	Mock      mockCmd      `cmd:"" help:"Run the simulated provider. Its answers say that they are simulated."`
	Bootstrap bootstrapCmd `cmd:"" help:"Print the configuration that an Envoy elsewhere starts with."`
	XDS       xdsCmd       `cmd:"" name:"xds" help:"Print the Envoy resources of a policy."`
	Version   versionCmd   `cmd:"" help:"Print the version."`
}

const description = `Sluice stands in front of a self-run pool of models and external providers, and decides for each request who answers.

Start with "sluice serve --config policy.yaml", or with "sluice demo" to see one at work. Exit codes: 0 good, 1 problems found, 2 bad use or could not do it.`

func main() {
	log.SetOutput(io.Discard) // net/http's transport quotes there what upstreams say out of turn: prompts' answers, in a process's log
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	w := &world{ctx: context.Background(), stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, env: os.LookupEnv, signals: signals, threads: runtime.GOMAXPROCS}
	os.Exit(run(os.Args[1:], w))
}

// ended carries an exit code out of the parser, which wants to exit by itself after --help.
type ended struct{ code int }

// run runs one command line and returns its exit code.
func run(args []string, w *world) (code int) {
	defer func() {
		if v := recover(); v != nil {
			e, ok := v.(ended)
			if !ok {
				panic(v)
			}
			code = e.code
		}
	}()
	parser, err := kong.New(&cli{}, kong.Name("sluice"), kong.Description(description), kong.Writers(w.stdout, w.stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 110}), kong.Exit(func(code int) { panic(ended{code}) }))
	if err != nil {
		fmt.Fprintln(w.stderr, "sluice:", err)
		return exitBad
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(w.stderr, "sluice: %v (see sluice %s--help)\n", err, commandOf(err))
		return exitBad
	}
	return report(ctx.Run(w), w.stderr)
}

// commandOf names the command that a wrong use was about, with a space behind it, or nothing.
func commandOf(err error) string {
	var pe *kong.ParseError
	if errors.As(err, &pe) && pe.Context != nil && pe.Context.Selected() != nil {
		return strings.TrimPrefix(pe.Context.Selected().Path(), "sluice ") + " "
	}
	return ""
}

// failure is an error with its exit code. One without text has said all it had to say.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string {
	if f.err == nil {
		return ""
	}
	return f.err.Error()
}

// found is the failure of a command that did its work and found something wrong, which it has printed.
func found() error { return &failure{code: exitProblems} }

// printed is the failure of a command whose error is already on the terminal.
func printed() error { return &failure{code: exitBad} }

// report prints an error where that was not done yet, and returns the exit code.
func report(err error, stderr io.Writer) int {
	if err == nil {
		return exitOK
	}
	var f *failure
	if errors.As(err, &f) && f.err == nil {
		return f.code
	}
	fmt.Fprintf(stderr, "sluice: %v\n", err)
	if f != nil {
		return f.code
	}
	return exitBad
}
