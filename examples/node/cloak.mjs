// Enrolls a user from one photo, cloaks another, and deletes the user's mask again, from the protos as they are:
//   npm install && node cloak.mjs PROTOS ENROLL_TARGET APPLY_TARGET PORTRAIT PHOTO OUT
import { randomUUID } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import grpc from "@grpc/grpc-js";
import loader from "@grpc/proto-loader";

const [protos, enrollTarget, applyTarget, portrait, photo, out] = process.argv.slice(2);
const MESSAGE_BYTES = 64 * 1024 * 1024;

const definition = await loader.load(["facecloak/v1/enroll.proto", "facecloak/v1/apply.proto"], {
  includeDirs: [protos],
  keepCase: true,
  enums: String,
});
const { v1 } = grpc.loadPackageDefinition(definition).facecloak;
const options = {
  "grpc.max_receive_message_length": MESSAGE_BYTES,
  "grpc.max_send_message_length": MESSAGE_BYTES,
  // grpc-js waits as long as the service asks for, by its grpc-retry-pushback-ms.
  "grpc.service_config": JSON.stringify({
    loadBalancingConfig: [{ round_robin: {} }],
    methodConfig: [
      {
        name: [{ service: "facecloak.v1.ApplyService", method: "ApplyCloak" }],
        retryPolicy: {
          maxAttempts: 4,
          initialBackoff: "0.2s",
          maxBackoff: "5s",
          backoffMultiplier: 2,
          retryableStatusCodes: ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
        },
      },
    ],
  }),
};
const credentials = grpc.credentials.createInsecure();
const enrollService = new v1.EnrollService(enrollTarget, credentials, options);
const applyService = new v1.ApplyService(applyTarget, credentials, options);
const within = (seconds) => ({ deadline: Date.now() + seconds * 1000 });

// The reason is in a plain trailer, so that nobody has to decode google.rpc.Status.
const reasonOf = (error) => error.metadata?.get("facecloak-reason")[0] ?? grpc.status[error.code];

function unary(service, method, request, seconds) {
  return new Promise((resolve, reject) => {
    service[method](request, within(seconds), (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function enroll(user, data) {
  const request = { request_id: randomUUID(), user_id: user, photos: [{ data }] };
  for await (const event of enrollService.EnrollUser(request, within(600))) {
    if (event.result) return event.result;
    console.log(`${Math.round(event.progress.fraction * 100)} % ${event.progress.detail}`);
  }
  throw new Error("the service sent no result");
}

try {
  const enrollment = await enroll("user-4711", await readFile(portrait));
  console.log(`mask ${enrollment.mask_id}`);
  const request = { photo: await readFile(photo), subjects: [{ user_id: "user-4711" }], require_cloaked: true };
  const answer = await unary(applyService, "ApplyCloak", request, 30);
  await writeFile(out, answer.photo);
  console.log(answer.subjects[0].outcome);
} catch (error) {
  console.error(`${reasonOf(error)}: ${error.details ?? error.message}`);
  process.exitCode = 1;
} finally {
  await unary(enrollService, "DeleteUser", { user_id: "user-4711" }, 30).catch(() => {});
  enrollService.close();
  applyService.close();
}
