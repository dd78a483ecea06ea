// Continues a prompt, from Node, with the addon of continue_text_node.c: node continue_text.js MODEL PROMPT
const { continueText } = require("./continue_text.node");
const [path, prompt] = process.argv.slice(2);
console.log(prompt + continueText(path, prompt));
