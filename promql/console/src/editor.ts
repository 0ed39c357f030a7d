// The editor of expressions. It lives in a shadow tree: there CodeMirror puts its styles into constructed style sheets, which the
// page's Content-Security-Policy allows, and not into <style> elements, which it does not.
import { autocompletion, closeBrackets, closeBracketsKeymap, closeCompletion, completionKeymap } from '@codemirror/autocomplete';
import { history, historyKeymap, insertNewlineAndIndent, standardKeymap } from '@codemirror/commands';
import { bracketMatching, HighlightStyle, syntaxHighlighting } from '@codemirror/language';
import { EditorState, Prec } from '@codemirror/state';
import { EditorView, keymap, placeholder } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { PromQLExtension } from '@prometheus-io/codemirror-promql';
import { functionIdentifierTerms } from '@prometheus-io/codemirror-promql/dist/esm/complete/promql.terms';

const theme = EditorView.theme({
  '&': { color: 'var(--ink)', backgroundColor: 'var(--field)', border: '1px solid var(--edge)', borderRadius: '6px', fontSize: '14px' },
  '&.cm-focused': { outline: '2px solid var(--accent)', outlineOffset: '1px' },
  '.cm-scroller': { fontFamily: 'var(--mono)', lineHeight: '1.55', minHeight: '4.2em', maxHeight: '40vh' },
  '.cm-content': { caretColor: 'var(--ink)', padding: '8px 6px' },
  '.cm-placeholder': { color: 'var(--muted)' },
  '.cm-cursor': { borderLeftColor: 'var(--ink)' },
  '.cm-matchingBracket, &.cm-focused .cm-matchingBracket': { backgroundColor: 'var(--soft)', outline: '1px solid var(--edge)' },
  '.cm-tooltip': { backgroundColor: 'var(--card)', color: 'var(--ink)', border: '1px solid var(--edge)', borderRadius: '6px', boxShadow: '0 6px 24px rgb(0 0 0 / .18)', fontFamily: 'var(--sans)', fontSize: '13px', overflow: 'hidden' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul': { fontFamily: 'var(--mono)', maxHeight: '16em', maxWidth: 'min(92vw, 640px)' },
  '.cm-tooltip.cm-tooltip-autocomplete > ul > li': { padding: '2px 8px' },
  '.cm-tooltip-autocomplete ul li[aria-selected]': { backgroundColor: 'var(--accent)', color: 'var(--on-accent)' },
  '.cm-completionDetail': { color: 'inherit', opacity: '.75', fontStyle: 'normal', marginLeft: '1em' },
  '.cm-completionMatchedText': { textDecoration: 'none', fontWeight: '700' },
  '.cm-completionInfo': { padding: '6px 10px', maxWidth: '24em' },
  '.cm-completionIcon': { display: 'none' },
  '.cm-diagnostic': { padding: '4px 8px', borderLeft: '4px solid var(--crit)' },
  '.cm-diagnostic-warning': { borderLeftColor: 'var(--warn)' },
  '.cm-lintRange-error': { backgroundImage: 'none', textDecoration: 'underline wavy var(--crit)' },
  '.cm-lintRange-warning': { backgroundImage: 'none', textDecoration: 'underline wavy var(--warn)' },
});

const colors = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.modifier], color: 'var(--c-key)', fontWeight: '600' },
  { tag: tags.function(tags.variableName), color: 'var(--c-call)' },
  { tag: tags.string, color: 'var(--c-text)' },
  { tag: [tags.number, tags.labelName], color: 'var(--c-num)' },
  { tag: tags.comment, color: 'var(--muted)', fontStyle: 'italic' },
  { tag: tags.invalid, color: 'var(--crit)' },
]);

// Chromium, when what is typed replaces a selection, gives the new text the old one's looks by a style attribute, which the policy
// blocks and complains of. So that is not left to the browser.
const replaceSelection = EditorView.domEventHandlers({
  beforeinput: (event, view) => {
    const { from, to, empty } = view.state.selection.main;
    const text = event.data;
    if (event.inputType !== 'insertText' || !text || empty || view.composing) return false;
    const insert = () => view.state.update(view.state.replaceSelection(text), { userEvent: 'input.type', scrollIntoView: true });
    if (!view.state.facet(EditorView.inputHandler).some((handle) => handle(view, from, to, text, insert))) view.dispatch(insert());
    event.preventDefault();
    return true;
  },
});

export interface Editor {
  get(): string;
  set(text: string): void;
  focus(): void;
  destroy(): void;
}

/** openEditor puts an editor into an element. run is called when the expression is to be evaluated. */
export function openEditor(host: HTMLElement, text: string, run: (text: string) => void): Editor {
  const root = host.shadowRoot ?? host.attachShadow({ mode: 'open' });
  const promql = new PromQLExtension().setComplete({
    remote: { url: new URL('.', location.href).href.replace(/\/$/, ''), httpMethod: 'GET', lookbackInterval: 3600_000 },
  });
  const execute = (view: EditorView) => {
    closeCompletion(view);
    run(view.state.doc.toString());
    return true;
  };
  const view = new EditorView({
    parent: root,
    root,
    state: EditorState.create({
      doc: text,
      extensions: [
        history(), bracketMatching(), closeBrackets(), autocompletion(), syntaxHighlighting(colors), theme, promql.asExtension(),
        EditorView.lineWrapping, replaceSelection, placeholder('An expression, such as sum by (container) (rate(yagura_syscalls_total[5m]))'),
        EditorView.contentAttributes.of({ 'aria-label': 'Expression. Enter runs it, Shift Enter begins a line, Escape leaves.', spellcheck: 'false' }),
        Prec.highest(keymap.of([{ key: 'Mod-Enter', run: execute }])),
        keymap.of([...closeBracketsKeymap, ...completionKeymap, ...historyKeymap,
          { key: 'Enter', run: execute, shift: insertNewlineAndIndent },
          { key: 'Escape', run: (v) => (v.contentDOM.blur(), true) },
          ...standardKeymap]),
      ],
    }),
  });
  return {
    get: () => view.state.doc.toString(),
    set: (to) => {
      if (to !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: to } });
    },
    focus: () => view.focus(),
    destroy: () => view.destroy(),
  };
}

const described = new Map(functionIdentifierTerms.map((t) => [t.label, t.info]));

/** What a function does, as the editor's completion says it. */
export const describe = (name: string) => described.get(name) ?? '';
