// Asks the control plane through the real npm provider; prints what an application would get.
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";

const [baseUrl, key] = process.argv.slice(2);
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers: [["Authorization", `Bearer ${key}`]] }));
const client = OpenFeature.getClient();
const context = { targetingKey: "u-1", plan: "beta" };
console.log(
  JSON.stringify({
    boolean: await client.getBooleanDetails("chat", false, context),
    number: await client.getNumberDetails("ratio", 0, context),
    object: await client.getObjectDetails("route", {}, context),
    missing: await client.getBooleanDetails("nothing", true, context),
  }),
);
await OpenFeature.close();
